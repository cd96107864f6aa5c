//! The real binary, run as a user runs it: a configuration file, signals, metrics over HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_parqueduct");

/// A running `parqueduct run`; killed when dropped.
pub struct Program {
    child: Child,
    log: PathBuf,
    http: SocketAddr,
}

impl Program {
    /// Starts `parqueduct run` with the configuration file `config`, which must say `http.listen = "127.0.0.1:0"`.
    pub fn start(config: &Path) -> Self {
        Self::start_binary(Path::new(BINARY), config)
    }

    /// The same with another build of the binary.
    pub fn start_binary(binary: &Path, config: &Path) -> Self {
        Self::start_command(Command::new(binary), config)
    }

    /// The same with a limit on what it may allocate (`RLIMIT_DATA`), beyond which it aborts.
    pub fn start_limited(config: &Path, bytes_max: u64) -> Self {
        let mut limited = Command::new("prlimit");
        limited.args([&format!("--data={bytes_max}"), BINARY]);
        Self::start_command(limited, config)
    }

    /// The same with variables in its environment.
    pub fn start_with(config: &Path, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(BINARY);
        command.envs(variables.iter().copied());
        Self::start_command(command, config)
    }

    fn start_command(mut command: Command, config: &Path) -> Self {
        let log = config.with_extension(format!("{}.log", unique()));
        let file = std::fs::File::create(&log).expect("the log can be written");
        let child = command
            .args(["run", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .expect("the binary starts");
        let mut program = Self { child, log, http: ([127, 0, 0, 1], 0).into() };
        program.http = wait_for("the address of the HTTP server in the log", Duration::from_secs(20), || {
            if let Some(status) = program.child.try_wait().expect("the child can be asked") {
                panic!("the program ended at its start ({status}):\n{}", program.log());
            }
            let log = program.log();
            let line = log.lines().find(|line| line.contains("metrics and health are served"))?.to_owned();
            line.split("address=").nth(1)?.split_whitespace().next()?.parse().ok()
        });
        program
    }

    /// The same, waiting until it consumes.
    pub fn start_ready(config: &Path) -> Self {
        Self::start(config).once_ready()
    }

    /// The same, once it consumes.
    pub fn once_ready(self) -> Self {
        wait_for("the program to be ready", Duration::from_secs(60), || (self.get("/readyz").0 == 200).then_some(()));
        self
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it serves HTTP.
    pub fn address(&self) -> SocketAddr {
        self.http
    }

    /// Everything logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log can be read")
    }

    /// Log lines of the level ERROR.
    pub fn errors(&self) -> Vec<String> {
        self.log().lines().filter(|line| line.contains(" ERROR ")).map(str::to_owned).collect()
    }

    /// Status and body of a GET.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.get_with(path, "")
    }

    /// The same of somebody who has that token.
    pub fn get_as(&self, path: &str, token: &str) -> (u16, String) {
        self.get_with(path, &format!("Authorization: Bearer {token}\r\n"))
    }

    fn get_with(&self, path: &str, headers: &str) -> (u16, String) {
        let answer = self.answer(path, headers).expect("the HTTP server answers in text");
        let status = answer.split(' ').nth(1).expect("a status").parse().expect("a number");
        let body = answer.split_once("\r\n\r\n").expect("a body").1.to_owned();
        (status, body)
    }

    fn answer(&self, path: &str, headers: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.http)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child can be asked")
    }

    /// Sum of a metric over its labels; 0 when it was never counted.
    pub fn metric(&self, name: &str) -> f64 {
        self.metric_if_alive(name).expect("the HTTP server answers in text")
    }

    /// The same; `None` when it does not answer, for it has ended or is about to.
    pub fn metric_if_alive(&self, name: &str) -> Option<f64> {
        let text = self.answer("/metrics", "").ok()?;
        let lines = text
            .lines()
            .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' ')))
            .map(|line| line.rsplit(' ').next().expect("a value").parse::<f64>().expect("a number"));
        text.contains("\r\n\r\n").then(|| lines.sum())
    }

    /// Waits until the metric is more than `value`.
    pub fn wait_for_more(&self, name: &str, value: f64, limit: Duration) {
        wait_for(&format!("{name} to be more than {value}"), limit, || (self.metric(name) > value).then_some(()));
    }

    /// Waits until archived + dead-lettered + suppressed reaches `deliveries` and nothing is in flight.
    pub fn wait_until_settled(&self, deliveries: u64, limit: Duration) {
        const PARTS: [&str; 5] = [
            "parqueduct_archived_total",
            "parqueduct_dead_lettered_total",
            "parqueduct_duplicates_suppressed_total",
            "parqueduct_requeued_total",
            "parqueduct_in_flight",
        ];
        let mut last = [0.0; 5];
        let settled = answer_within(limit, || {
            last = PARTS.map(|part| self.metric(part));
            let [archived, dead_lettered, suppressed, _, in_flight] = last;
            (archived + dead_lettered + suppressed >= deliveries as f64 && in_flight == 0.0).then_some(())
        });
        assert!(settled.is_some(), "waited {limit:?} for {deliveries} settled deliveries; {PARTS:?} are {last:?}");
    }

    /// SIGTERM, then the end; panics when it takes longer than `limit`.
    pub fn terminate(mut self, limit: Duration) -> (ExitStatus, String) {
        self.signal(libc_signal::TERM);
        let status =
            wait_for("the end after SIGTERM", limit, || self.child.try_wait().expect("the child can be asked"));
        (status, self.log())
    }

    /// SIGKILL.
    pub fn kill(mut self) -> String {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
        self.log()
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args(["-s", signal, &self.pid().to_string()]).status().expect("kill(1) runs");
        assert!(sent.success(), "SIG{signal} could not be sent");
    }

    /// Resident memory in bytes, now and at its peak (`VmRSS`, `VmHWM` of proc(5)).
    pub fn memory(&self) -> (u64, u64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("the process lives");
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).expect("the field exists");
            line.split_whitespace().nth(1).expect("a figure").parse::<u64>().expect("a number") * 1024
        };
        (field("VmRSS:"), field("VmHWM:"))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The directory of the test may be gone already, and a second panic would hide the first.
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            eprintln!("--- log of parqueduct run\n{log}---");
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Names of signals as kill(1) takes them.
pub mod libc_signal {
    pub const TERM: &str = "TERM";
}

/// Runs the binary to its end.
pub fn parqueduct(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(arguments).stdin(Stdio::null()).output().expect("the binary starts")
}

/// Runs the binary and returns its output, which must be a success.
pub fn parqueduct_ok(arguments: &[&str]) -> String {
    let output = parqueduct(arguments);
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "parqueduct {arguments:?} failed ({}):\n{out}\n{err}", output.status);
    out.into_owned()
}

/// Asks `question` until it has an answer, and panics naming `what` after `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, question: impl FnMut() -> Option<T>) -> T {
    answer_within(limit, question).unwrap_or_else(|| panic!("waited {limit:?} for {what}"))
}

/// Asks `question` until it has an answer; `None` when it has none after `limit`.
pub fn answer_within<T>(limit: Duration, mut question: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    loop {
        let answer = question();
        if answer.is_some() || start.elapsed() >= limit {
            return answer;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A name no other test uses.
pub fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("t{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
