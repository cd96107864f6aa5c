//! A running program with dead letters in its store, and somebody who asks it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitStatus;
use std::time::Duration;

use serde_json::Value;

use super::document::Operation;
use crate::harness::orders;
use crate::harness::program::{Program, parqueduct_ok};
use crate::harness::rabbit::Rabbit;
use crate::harness::setting::{Options, Setting};

/// From the least.
pub const ROLES: [&str; 3] = ["viewer", "operator", "admin"];

/// The token of a role, or of nobody.
pub fn token(name: &str) -> String {
    format!("the-token-of-{name}-0123456789")
}

pub struct Place {
    // Dropped first: it still writes its log into the directory of the setting.
    pub program: Program,
    pub setting: Setting,
    /// Ids of letters, the first of an order whose customer is masked.
    pub letters: Vec<String>,
    pub groups: Vec<String>,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Place {
    /// With tokens for all roles.
    pub fn new() -> Self {
        let tokens: Vec<_> = ROLES
            .iter()
            .map(|role| format!("[[http.token]]\nname = \"{role}\"\nrole = \"{role}\"\ntoken = \"{}\"\n", token(role)))
            .collect();
        Self::with(&format!("requests_max = 1000000\n{}", tokens.concat()))
    }

    /// With these lines in `[http]`.
    pub fn with(http: &str) -> Self {
        let rabbit = crate::harness::now(Rabbit::shared());
        let more = format!("{http}\n[dlq]\nmask = [\"/customer/email\"]\n");
        let setting = Setting::new(&Options { more: &more, ..Options::orders(rabbit.uri()) });
        let lines = setting.directory.path().join("orders.ndjson");
        std::fs::write(&lines, bad_orders()).expect("it can be written");
        let config = setting.config.to_str().expect("UTF-8");
        parqueduct_ok(&["ingest", "--config", config, "--pipeline", "orders", lines.to_str().expect("UTF-8")]);
        let values = |command: &str, key: &str| -> Vec<String> {
            let listed = parqueduct_ok(&["dlq", command, "--json", "--config", config]);
            let objects = listed.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
            objects.map(|object| object[key].as_str().expect("a text").to_owned()).collect()
        };
        let mut letters = values("list", "id");
        // The oldest is the one with the address.
        letters.reverse();
        let groups = values("groups", "group");
        assert!(letters.len() > 10 && groups.len() > 5, "{} letters, {} groups", letters.len(), groups.len());
        let program = Program::start_ready(&setting.config);
        Self { program, setting, letters, groups }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.program.address())
    }

    /// The document that is served.
    pub fn document(&self) -> Value {
        let answer = self.get("/api/v1/openapi.json", None);
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_str(&answer.body).expect("JSON")
    }

    pub fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.send("GET", path, token, None)
    }

    /// Carries out an operation on things that are there.
    pub fn ask(&self, operation: &Operation, token: Option<&str>) -> Answer {
        self.ask_about(operation, &self.letters[0], token)
    }

    /// The same on that letter.
    pub fn ask_about(&self, operation: &Operation, letter: &str, token: Option<&str>) -> Answer {
        let mut path = operation.path.clone();
        for (parameter, value) in [("{id}", letter), ("{group}", &self.groups[0]), ("{name}", "orders")] {
            path = path.replace(parameter, value);
        }
        // Of what there is none yet, such as a job.
        while let Some((before, rest)) = path.split_once('{') {
            let (_, after) = rest.split_once('}').expect("a parameter ends");
            path = format!("{before}01ARZ3NDEKTSV4RRFFQ69G5FAV{after}");
        }
        self.send(&operation.method, &path, token, operation.body.as_ref())
    }

    /// With a body of JSON, if there is one.
    pub fn send(&self, method: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> Answer {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        if let Some(token) = token {
            head.push_str(&format!("Authorization: Bearer {token}\r\n"));
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        if !body.is_empty() {
            head.push_str("Content-Type: application/json\r\n");
        }
        head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        let mut stream = TcpStream::connect(self.program.address()).expect("it is served");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a limit");
        stream.write_all(head.as_bytes()).expect("it reads");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("it answers");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        Answer { status, body: body.to_owned() }
    }

    /// SIGTERM, and the end.
    pub fn end(self, limit: Duration) -> (ExitStatus, String) {
        self.program.terminate(limit)
    }
}

/// One order of each kind of trouble, a line each; none of them can be archived.
fn bad_orders() -> Vec<u8> {
    let mut lines = br#"{"id":"masked","occurred_at":"2024-01-01T10:00:00Z","amount":-1,"customer":{"email":"secret-4111@example.com"}}"#.to_vec();
    lines.push(b'\n');
    for kind in 0..orders::KINDS {
        let body = orders::bad(kind).body;
        // A line is a body, so one with a line break or none at all is not of a file.
        if !body.is_empty() && !body.contains(&b'\n') {
            lines.extend_from_slice(&body);
            lines.push(b'\n');
        }
    }
    lines
}
