//! A server with OpenAI's interface, honest or hostile: `stand-in BEHAVIOUR MODEL FOLDER ADDRESS`. Requests say in their prompt what it
//! shall do.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what a process writes is what is tested")]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

static ASKED: AtomicUsize = AtomicUsize::new(0);
static CLOSED: AtomicUsize = AtomicUsize::new(0);

trait Socket: Read + Write + Send {}
impl<T: Read + Write + Send> Socket for T {}

#[derive(Clone)]
struct StandIn {
    behaviour: String,
    model: String,
    folder: String,
    started: Instant,
}

pub fn run(arguments: &[String]) -> ExitCode {
    let [behaviour, model, folder, address] = arguments else { return ExitCode::from(9) };
    if behaviour == "exits" {
        return ExitCode::from(3);
    }
    let here = StandIn {
        behaviour: behaviour.clone(),
        model: model.clone(),
        folder: folder.clone(),
        started: Instant::now(),
    };
    let serve = |socket: Box<dyn Socket>| {
        let here = here.clone();
        thread::spawn(move || here.serve(socket));
    };
    match address.parse::<u16>() {
        Ok(port) => {
            let host = if behaviour == "exposed" { "0.0.0.0" } else { "127.0.0.1" };
            for socket in TcpListener::bind((host, port)).expect("a port").incoming().flatten() {
                serve(Box::new(socket));
            }
        }
        Err(_) => {
            for socket in UnixListener::bind(address).expect("a socket").incoming().flatten() {
                serve(Box::new(socket));
            }
        }
    }
    ExitCode::SUCCESS
}

impl StandIn {
    fn serve(&self, socket: Box<dyn Socket>) {
        let mut socket = BufReader::new(socket);
        let (mut line, mut length) = (String::new(), 0);
        socket.read_line(&mut line).expect("a request");
        let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
        loop {
            line.clear();
            socket.read_line(&mut line).expect("a header");
            if line.trim().is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        socket.read_exact(&mut body).expect("a body");
        let mut socket = socket.into_inner();
        let _ = self.answer(&path, &body, &mut *socket);
    }

    fn answer(&self, path: &str, body: &[u8], socket: &mut dyn Socket) -> io::Result<()> {
        let young = self.started.elapsed() < Duration::from_millis(700);
        if path == "/v1/models" {
            if self.behaviour == "silent" || (self.behaviour == "falls-silent" && !young) {
                thread::sleep(Duration::from_secs(60));
            }
            return whole(socket, 200, &json!({"object": "list", "data": [{"id": "its-model"}]}));
        }
        if self.behaviour == "loads" && young {
            return whole(socket, 503, &json!({"error": {"message": "Loading model"}}));
        }
        let asked: Value = serde_json::from_slice(body)?;
        assert_eq!(asked["model"], "its-model");
        let prompt = asked["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
        println!("{prompt}");
        eprintln!("{prompt}");
        let number = ASKED.fetch_add(1, Ordering::SeqCst);
        match self.behaviour.as_str() {
            "garbage" => return stream(socket, &["!!!!!!!!", "!!!!!!!!"]),
            "changes" => return stream(socket, &["The answer number ", &number.to_string(), " is this."]),
            "fails" => return whole(socket, 500, &json!({"error": {"message": prompt}})),
            "shares" => return cached(socket, 16),
            "dies-asked" => std::process::exit(4),
            "counts-nothing" => {
                head(socket, 200, "text/event-stream")?;
                event(socket, &piece("The capital of France is Paris."))?;
                event(socket, END)?;
                return event(socket, "[DONE]");
            }
            _ => {}
        }
        self.told(&prompt, socket)
    }

    /// What a prompt tells it to do.
    fn told(&self, prompt: &str, socket: &mut dyn Socket) -> io::Result<()> {
        let secret = || json!({"error": {"message": format!("your prompt was: {prompt}"), "type": "x"}});
        match prompt {
            "model" => stream(socket, &[&fs::read_to_string(&self.model)?]),
            "config" => stream(socket, &[&fs::read_to_string(format!("{}/sub/config.json", self.folder))?]),
            "link" => stream(socket, &[&fs::read_link(&self.model)?.to_string_lossy()]),
            "write" => {
                let written = fs::OpenOptions::new()
                    .write(true)
                    .open(&self.model)
                    .and_then(|mut file| file.write_all(b"x"));
                stream(socket, &[if written.is_ok() { "written" } else { "refused" }])
            }
            "environment" => {
                let mut names: Vec<_> =
                    std::env::vars().map(|(name, value)| format!("{name}={value}")).collect();
                names.sort();
                stream(socket, &[&names.join("\n")])
            }
            "descriptors" => {
                let open = fs::read_dir("/proc/self/fd")?.flatten();
                let read = |entry: fs::DirEntry| fs::read_link(entry.path()).ok();
                let mut open: Vec<_> =
                    open.filter_map(read).map(|path| path.to_string_lossy().into_owned()).collect();
                open.sort();
                stream(socket, &[&open.join("\n")])
            }
            "status" => stream(socket, &[&fs::read_to_string("/proc/self/status")?]),
            "child" => {
                let child = Command::new("/bin/sleep").arg("600").stdin(Stdio::null()).spawn()?;
                stream(socket, &[&child.id().to_string()])
            }
            "closed" => stream(socket, &[&CLOSED.load(Ordering::SeqCst).to_string()]),
            "die" => {
                head(socket, 200, "text/event-stream")?;
                event(socket, &piece("a word"))?;
                std::process::exit(5);
            }
            "long" => {
                head(socket, 200, "text/event-stream")?;
                for _ in 0..600 {
                    if event(socket, &piece("a word ")).is_err() {
                        CLOSED.fetch_add(1, Ordering::SeqCst);
                        return Ok(());
                    }
                    thread::sleep(Duration::from_millis(10));
                }
                Ok(())
            }
            "endless" => {
                head(socket, 200, "text/event-stream")?;
                while event(socket, &piece(&"word ".repeat(1000))).is_ok() {}
                Ok(())
            }
            "comments" => {
                head(socket, 200, "text/event-stream")?;
                while socket.write_all(&b": nothing\n".repeat(1000)).is_ok() {}
                Ok(())
            }
            "headers" => {
                socket.write_all(b"HTTP/1.1 200 OK\r\n")?;
                let line = format!("x: {}\r\n", "y".repeat(1000));
                for _ in 0..100_000 {
                    socket.write_all(line.as_bytes())?;
                }
                Ok(())
            }
            "html" => {
                head(socket, 200, "text/html")?;
                socket.write_all(b"<html><script>alert(1)</script></html>")
            }
            "cut" => {
                head(socket, 200, "text/event-stream")?;
                event(socket, &piece("half of"))?;
                socket.write_all(b"data: {\"choices\":[{\"del")
            }
            "nonsense" => {
                head(socket, 200, "text/event-stream")?;
                event(socket, "{\"choices\":42}")
            }
            "error" => {
                head(socket, 200, "text/event-stream")?;
                event(socket, &secret().to_string())
            }
            "refused" => whole(socket, 400, &secret()),
            "busy" => whole(socket, 429, &secret()),
            "failed" => whole(socket, 500, &secret()),
            "elsewhere" => socket
                .write_all(b"HTTP/1.1 307 X\r\nLocation: http://example.com/\r\nContent-Length: 0\r\n\r\n"),
            _ => stream(socket, &["The capital ", "of France is ", "Paris."]),
        }
    }
}

fn head(socket: &mut dyn Socket, status: u16, kind: &str) -> io::Result<()> {
    socket.write_all(format!("HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n\r\n").as_bytes())
}

fn whole(socket: &mut dyn Socket, status: u16, body: &Value) -> io::Result<()> {
    head(socket, status, "application/json")?;
    socket.write_all(body.to_string().as_bytes())
}

fn event(socket: &mut dyn Socket, data: &str) -> io::Result<()> {
    socket.write_all(format!("data: {data}\n\n").as_bytes())
}

fn piece(text: &str) -> String {
    json!({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]}).to_string()
}

fn stream(socket: &mut dyn Socket, pieces: &[&str]) -> io::Result<()> {
    head(socket, 200, "text/event-stream")?;
    for text in pieces {
        event(socket, &piece(text))?;
    }
    end(socket, 0)
}

fn cached(socket: &mut dyn Socket, tokens: u32) -> io::Result<()> {
    head(socket, 200, "text/event-stream")?;
    event(socket, &piece("The capital of France is Paris."))?;
    end(socket, tokens)
}

fn end(socket: &mut dyn Socket, cached_tokens: u32) -> io::Result<()> {
    event(socket, END)?;
    let details = json!({"cached_tokens": cached_tokens});
    let usage = json!({"prompt_tokens": 20, "completion_tokens": 3, "prompt_tokens_details": details});
    event(socket, &json!({"choices": [], "usage": usage}).to_string())?;
    event(socket, "[DONE]")
}

const END: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
