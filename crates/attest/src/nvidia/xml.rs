//! The XML that NVIDIA's reference manifests are written in, and its canonical form (Canonical XML 1.1, inclusive).
//!
//! A small subset, and everything else is refused: ASCII elements, attributes in double quotes, and text. No document
//! type, entity, character reference, comment, processing instruction, CDATA section, `xml:` attribute, carriage return,
//! or prefix that is declared a second time. Within the subset the canonical form is exact.

const MAX_DEPTH: usize = 16;
const MAX_NODES: usize = 4096;
const MAX_ATTRIBUTES: usize = 64;

/// An element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Element<'a> {
    /// As written, with its prefix.
    pub(crate) name: &'a str,
    /// Attributes that declare no namespace: name as written, value.
    pub(crate) attributes: Vec<(&'a str, &'a str)>,
    /// Namespaces that are declared here: prefix ("" for the default), URI.
    namespaces: Vec<(&'a str, &'a str)>,
    pub(crate) children: Vec<Node<'a>>,
}

/// What is in an element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node<'a> {
    Element(Element<'a>),
    Text(&'a str),
}

/// The namespaces in scope: prefix, URI.
type Scope<'a> = Vec<(&'a str, &'a str)>;

struct Reader<'a> {
    rest: &'a str,
    nodes: usize,
}

/// Reads one document of the subset; whitespace may follow it.
pub(crate) fn parse(input: &[u8]) -> Option<Element<'_>> {
    let allowed = |octet: &u8| matches!(octet, b'\n' | b'\t' | 0x20..=0x7e);
    let text = core::str::from_utf8(input).ok()?;
    if !input.iter().all(allowed) || text.contains('&') {
        return None;
    }
    let mut reader = Reader { rest: text, nodes: 0 };
    let root = reader.element(&[], 0)?;
    reader.rest.trim_ascii().is_empty().then_some(root)
}

impl<'a> Reader<'a> {
    fn accept(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn until(&mut self, stop: impl Fn(char) -> bool) -> Option<&'a str> {
        let (taken, rest) = self.rest.split_at_checked(self.rest.find(stop)?)?;
        self.rest = rest;
        Some(taken)
    }

    /// `name` or `prefix:name`.
    fn name(&mut self) -> Option<&'a str> {
        let name = self.until(|c| !(c.is_ascii_alphanumeric() || c == ':'))?;
        let mut parts = name.split(':');
        let starts_well = |part: &str| part.starts_with(|c: char| c.is_ascii_alphabetic());
        (parts.by_ref().take(2).all(starts_well) && parts.next().is_none()).then_some(name)
    }

    fn element(&mut self, outer: &[(&'a str, &'a str)], depth: usize) -> Option<Element<'a>> {
        self.nodes = self.nodes.checked_add(1).filter(|&nodes| nodes <= MAX_NODES)?;
        if depth >= MAX_DEPTH || !self.accept("<") {
            return None;
        }
        let name = self.name()?;
        let mut element =
            Element { name, attributes: Vec::new(), namespaces: Vec::new(), children: Vec::new() };
        while self.accept(" ") {
            self.attribute(&mut element)?;
        }
        let scope: Scope<'a> = outer.iter().chain(&element.namespaces).copied().collect();
        let mut prefixes: Vec<_> = scope.iter().map(|(prefix, _)| prefix).collect();
        prefixes.sort_unstable();
        if prefixes.windows(2).any(|pair| matches!(pair, [a, b] if a == b)) || !well_named(&element, &scope) {
            return None;
        }
        if self.accept("/>") {
            return Some(element);
        }
        if !self.accept(">") {
            return None;
        }
        loop {
            if self.accept("</") {
                return (self.name()? == name && self.accept(">")).then_some(element);
            }
            if self.rest.starts_with('<') {
                let deeper = depth.checked_add(1)?;
                element.children.push(Node::Element(self.element(&scope, deeper)?));
            } else {
                self.nodes = self.nodes.checked_add(1).filter(|&nodes| nodes <= MAX_NODES)?;
                let text = self.until(|c| c == '<')?;
                if text.contains('>') {
                    return None;
                }
                element.children.push(Node::Text(text));
            }
        }
    }

    fn attribute(&mut self, element: &mut Element<'a>) -> Option<()> {
        let name = self.name()?;
        if !self.accept("=\"") {
            return None;
        }
        let value = self.until(|c| c == '"')?;
        let plain = !value.contains(['<', '>', '\n', '\t']);
        let count = element.attributes.len().checked_add(element.namespaces.len())?;
        if !plain || !self.accept("\"") || count >= MAX_ATTRIBUTES {
            return None;
        }
        match name.split_once(':') {
            Some(("xml", _)) => return None,
            Some(("xmlns", prefix)) if !value.is_empty() && !prefix.starts_with("xml") => {
                element.namespaces.push((prefix, value));
            }
            Some(("xmlns", _)) => return None,
            None if name == "xmlns" && !value.is_empty() => element.namespaces.push(("", value)),
            None if name == "xmlns" => return None,
            _ => element.attributes.push((name, value)),
        }
        Some(())
    }
}

/// Every prefix is declared, and no attribute occurs twice under two prefixes or one.
fn well_named<'a>(element: &Element<'a>, scope: &[(&'a str, &'a str)]) -> bool {
    let known = |name: &str| name.split_once(':').is_none_or(|(prefix, _)| uri(scope, prefix).is_some());
    let mut names: Vec<_> = element.attributes.iter().map(|(name, _)| expanded(scope, name)).collect();
    names.sort_unstable();
    known(element.name)
        && element.attributes.iter().all(|(name, _)| known(name))
        && !names.windows(2).any(|pair| matches!(pair, [a, b] if a == b))
}

fn uri<'a>(scope: &[(&'a str, &'a str)], prefix: &str) -> Option<&'a str> {
    scope.iter().find(|(known, _)| *known == prefix).map(|(_, uri)| *uri)
}

/// Namespace and local name; an attribute without a prefix has no namespace.
fn expanded<'a>(scope: &[(&'a str, &'a str)], name: &'a str) -> (&'a str, &'a str) {
    match name.split_once(':') {
        Some((prefix, local)) => (uri(scope, prefix).unwrap_or_default(), local),
        None => ("", name),
    }
}

impl<'a> Element<'a> {
    /// The child elements.
    pub(crate) fn elements(&self) -> impl Iterator<Item = &Element<'a>> {
        self.children.iter().filter_map(|child| match child {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The only child element of this name.
    pub(crate) fn only(&self, name: &str) -> Option<&Element<'a>> {
        let mut found = self.elements().filter(|element| element.name == name);
        found.next().filter(|_| found.next().is_none())
    }

    /// All child elements, where there are just so many, and no text between them.
    pub(crate) fn exactly<const N: usize>(&self) -> Option<[&Element<'a>; N]> {
        let all: Vec<_> = self.elements().collect();
        let nothing_else = all.len() == self.children.len();
        all.try_into().ok().filter(|_| nothing_else)
    }

    /// Whether it has no attribute and declares no namespace.
    pub(crate) fn is_plain(&self) -> bool {
        self.attributes.is_empty() && self.namespaces.is_empty()
    }

    /// The text, where there is nothing else in it or on it.
    pub(crate) fn text(&self) -> Option<&'a str> {
        match self.children.as_slice() {
            [Node::Text(text)] if self.is_plain() => Some(text),
            _ => None,
        }
    }

    /// An attribute's value.
    pub(crate) fn attribute(&self, name: &str) -> Option<&'a str> {
        self.attributes.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
    }

    /// The URI that this element itself declares for a prefix.
    pub(crate) fn declares(&self, prefix: &str) -> Option<&'a str> {
        uri(&self.namespaces, prefix)
    }

    /// The canonical form of this element, without the child elements that are named here.
    pub(crate) fn canonical(&self, outer: &[&Element<'a>], without: Option<&str>) -> String {
        let inherited: Scope<'a> =
            outer.iter().flat_map(|element| element.namespaces.iter().copied()).collect();
        let mut out = String::new();
        self.write(&mut out, &[], &inherited, without);
        out
    }

    /// `written` is in scope and written already; `inherited` is in scope and not written yet.
    fn write(
        &self,
        out: &mut String,
        written: &[(&'a str, &'a str)],
        inherited: &[(&'a str, &'a str)],
        without: Option<&str>,
    ) {
        let mut namespaces: Scope<'a> = inherited.iter().chain(&self.namespaces).copied().collect();
        namespaces.sort_unstable();
        let scope: Scope<'a> = written.iter().chain(&namespaces).copied().collect();
        let mut attributes = self.attributes.clone();
        attributes.sort_by_key(|(name, _)| expanded(&scope, name));
        let mut push = |parts: &[&str]| out.extend(parts.iter().copied());
        push(&["<", self.name]);
        for (prefix, uri) in &namespaces {
            push(&[if prefix.is_empty() { " xmlns" } else { " xmlns:" }, prefix, "=\"", uri, "\""]);
        }
        for (name, value) in &attributes {
            push(&[" ", name, "=\"", value, "\""]);
        }
        push(&[">"]);
        for child in &self.children {
            match child {
                Node::Text(text) => out.push_str(text),
                Node::Element(element) if Some(element.name) == without => {}
                Node::Element(element) => element.write(out, &scope, &[], None),
            }
        }
        out.extend(["</", self.name, ">"]);
    }
}
