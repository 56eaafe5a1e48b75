//! The operator's command line, and the dialects of OpenAI's interface (spec/upstream.md, UP-03, UP-20).

use std::path::Path;

use casemate_protocol::statement::Separation;

/// How an upstream is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// llama.cpp's server.
    LlamaServer,
    /// vLLM.
    Vllm,
    /// SGLang.
    Sglang,
    /// Any other: it is told nothing that OpenAI's interface does not have.
    OpenAi,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::LlamaServer, Self::Vllm, Self::Sglang, Self::OpenAi];

    /// Its name in settings and statements.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LlamaServer => "llama-server",
            Self::Vllm => "vllm",
            Self::Sglang => "sglang",
            Self::OpenAi => "openai",
        }
    }

    /// The one with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// What keeps tenants apart in its prefix cache (UP-30).
    #[must_use]
    pub fn separation(self) -> Separation {
        match self {
            Self::LlamaServer => Separation::NoReuse,
            Self::Vllm | Self::Sglang => Separation::Salt,
            Self::OpenAi => Separation::None,
        }
    }

    /// Whether it can be told `top_k`, `min_p` and that nothing is penalised.
    pub(super) fn knows_candidates(self) -> bool {
        self != Self::OpenAi
    }

    /// Whether it refuses a budget that its context has no room for, where others give what there is room for (UP-22). It then says with each
    /// piece how many tokens there were.
    pub(super) fn refuses_budgets(self) -> bool {
        matches!(self, Self::Vllm | Self::Sglang)
    }
}

/// A command line with places to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    words: Vec<String>,
    by_socket: bool,
    wants_model: bool,
}

/// Why a text is no command line for an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandFault {
    /// Nothing is there.
    #[error("it is empty")]
    Empty,
    /// A quote is not closed, or a backslash ends it.
    #[error("a quote is not closed")]
    Quote,
    /// A place that nothing can be filled into.
    #[error("it has a place that is none of {{model}}, {{folder}}, {{port}} and {{socket}}")]
    Place,
    /// Nothing says where the weights are.
    #[error("neither {{model}} nor {{folder}} is in it, so it would not run the sealed model")]
    NoModel,
    /// Nothing says where it listens, or two things do.
    #[error("exactly one of {{port}} and {{socket}} must be in it")]
    Address,
}

/// What is filled in.
pub(super) struct Places<'a> {
    pub(super) model: Option<&'a Path>,
    pub(super) folder: &'a Path,
    pub(super) port: u16,
    pub(super) socket: &'a Path,
}

impl CommandLine {
    /// Reads words as a shell would: quotes and backslashes, and nothing else that a shell knows.
    ///
    /// # Errors
    /// [`CommandFault`].
    pub fn parse(text: &str) -> Result<Self, CommandFault> {
        let words = words(text)?;
        if words.is_empty() {
            return Err(CommandFault::Empty);
        }
        let (mut model, mut folder, mut port, mut socket) = (false, false, false, false);
        for word in &words {
            for place in places(word) {
                match place {
                    "model" => model = true,
                    "folder" => folder = true,
                    "port" => port = true,
                    "socket" => socket = true,
                    _ => return Err(CommandFault::Place),
                }
            }
        }
        if !model && !folder {
            return Err(CommandFault::NoModel);
        }
        if port == socket {
            return Err(CommandFault::Address);
        }
        Ok(Self { words, by_socket: socket, wants_model: model })
    }

    /// As the operator wrote it, for the statement.
    #[must_use]
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Whether it listens on a Unix socket, and not on a port.
    pub(super) fn by_socket(&self) -> bool {
        self.by_socket
    }

    /// Whether it wants one file, and not a folder only.
    pub(super) fn wants_model(&self) -> bool {
        self.wants_model
    }

    /// The words with everything filled in.
    pub(super) fn filled(&self, with: &Places<'_>) -> Vec<String> {
        let model = with.model.unwrap_or(with.folder).to_string_lossy();
        let (folder, socket) = (with.folder.to_string_lossy(), with.socket.to_string_lossy());
        let fill = |word: &String| {
            word.replace("{model}", &model)
                .replace("{folder}", &folder)
                .replace("{port}", &with.port.to_string())
                .replace("{socket}", &socket)
        };
        self.words.iter().map(fill).collect()
    }
}

/// The names between braces that look like places: letters and underscores. JSON in an argument has other things there.
fn places(word: &str) -> impl Iterator<Item = &str> {
    word.split('{').skip(1).filter_map(|rest| {
        let (name, _) = rest.split_once('}')?;
        (!name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')).then_some(name)
    })
}

fn words(text: &str) -> Result<Vec<String>, CommandFault> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None | Some('"'), '\\') => {
                word.get_or_insert_default().push(characters.next().ok_or(CommandFault::Quote)?);
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(CommandFault::Quote);
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_a_shells_without_its_tricks() {
        let read = |text: &str| words(text).unwrap();
        assert_eq!(read("  a  b\tc\n"), ["a", "b", "c"]);
        assert_eq!(read(r#"a 'b c' "d \" e" f\ g '' x"y"'z'"#), ["a", "b c", "d \" e", "f g", "", "xyz"]);
        assert_eq!(read("a; $(b) `c` *"), ["a;", "$(b)", "`c`", "*"]);
        for open in ["a 'b", "a \"b", "a\\"] {
            assert_eq!(words(open), Err(CommandFault::Quote));
        }
    }

    /// UP-03: one mistake each.
    #[test]
    fn a_command_says_where_the_weights_are_and_where_it_listens() {
        let parse = |text: &str| CommandLine::parse(text).map(|_| ());
        assert_eq!(parse("x -m {model} --port {port}"), Ok(()));
        assert_eq!(parse("x {folder} --uds {socket}"), Ok(()));
        assert_eq!(parse(r#"x {folder} --uds {socket} --json '{"a":{"b":1}}' {}"#), Ok(()));
        assert_eq!(parse("  "), Err(CommandFault::Empty));
        assert_eq!(parse("x --port {port}"), Err(CommandFault::NoModel));
        assert_eq!(parse("x {model}"), Err(CommandFault::Address));
        assert_eq!(parse("x {model} {port} {socket}"), Err(CommandFault::Address));
        assert_eq!(parse("x {model} {port} {modell}"), Err(CommandFault::Place));
        assert_eq!(parse("x '{model} {port}"), Err(CommandFault::Quote));
    }

    #[test]
    fn places_are_filled_in() {
        let line = CommandLine::parse("x -m {model} --dir={folder} --port {port}").unwrap();
        assert!(line.wants_model() && !line.by_socket());
        let places = Places {
            model: Some(Path::new("/f/a.gguf")),
            folder: Path::new("/f"),
            port: 7,
            socket: Path::new("/f/s"),
        };
        assert_eq!(line.filled(&places), ["x", "-m", "/f/a.gguf", "--dir=/f", "--port", "7"]);
        assert_eq!(line.words()[2], "{model}", "the statement has the places");
    }

    #[test]
    fn kinds_have_names() {
        for kind in Kind::ALL {
            assert_eq!(Kind::named(kind.name()), Some(kind));
        }
        assert_eq!(Kind::named("tgi"), None);
    }
}
