//! A jq program, compiled by jaq.

use std::io::{self, Write};

use jaq_core::load::{Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Filter, Vars, data, load, unwrap_valr};
use jaq_json::{Val, read, write};

use super::wire::Answer;

/// A longer program is no fix. It also bounds what a deeply nested one takes of the stack while it is compiled.
pub(crate) const PROGRAM_BYTES_MAX: usize = 16 << 10;
/// For compiling and running. Reserved, not used, unless a program nests.
pub(super) const STACK_BYTES: usize = 256 << 20;

/// Functions that would make the same fix do different things at another time or place, or that speak to others: the
/// clock, the time zone of the machine, the environment, the log, further input, the end of the process.
const WITHHELD: &[&str] = &[
    "now",
    "localtime",
    "strflocaltime",
    "env",
    "input",
    "inputs",
    "debug",
    "debug_empty",
    "stderr",
    "stderr_empty",
    "halt",
    "halt_error",
];

pub(super) struct Program(Filter<data::JustLut<Val>>);

/// What is wrong with a program: the line in it, and the problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub line: usize,
    pub problem: String,
}

/// Whether `code` is a program, found out on a thread whose stack is large enough for any of that length.
pub(crate) fn check(code: &str) -> Result<(), Wrong> {
    if code.len() > PROGRAM_BYTES_MAX {
        let problem = format!("has {} bytes, more than {PROGRAM_BYTES_MAX}", code.len());
        return Err(Wrong { line: 1, problem });
    }
    let code = code.to_owned();
    let checked = std::thread::Builder::new()
        .stack_size(STACK_BYTES)
        .name("jq check".to_owned())
        .spawn(move || Program::compile(&code).map(drop))
        .map(std::thread::JoinHandle::join);
    match checked {
        Ok(Ok(result)) => result,
        // A panic of the parser.
        Ok(Err(_)) => Err(Wrong { line: 1, problem: "cannot be read".to_owned() }),
        Err(error) => Err(Wrong { line: 1, problem: format!("could not be looked at ({error})") }),
    }
}

impl Program {
    pub(super) fn compile(code: &str) -> Result<Self, Wrong> {
        let granted = |name: &str| !WITHHELD.contains(&name);
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let arena = Arena::default();
        let modules = Loader::new(defs.filter(|def| granted(def.name)))
            .load(&arena, File { code, path: () })
            .map_err(|errors| not_loaded(code, errors))?;
        let filter = Compiler::default().with_funs(funs.filter(|(name, ..)| granted(name))).compile(modules).map_err(
            |errors| {
                let undefined = errors.iter().find_map(|(_, undefined)| undefined.first());
                match undefined {
                    Some((name, what)) => {
                        Wrong { line: line_of(code, name), problem: format!("there is no {} {name}", what.as_str()) }
                    }
                    None => Wrong { line: 1, problem: "cannot be compiled".to_owned() },
                }
            },
        )?;
        Ok(Self(filter))
    }

    /// Runs it on one body; exactly one value must come out.
    pub(super) fn run(&self, body: &[u8], output_bytes_max: usize) -> Answer {
        let Ok(input) = read::parse_single(body) else { return Answer::Unreadable };
        let context = Ctx::<data::JustLut<Val>>::new(&self.0.lut, Vars::new([]));
        let mut outputs = self.0.id.run((context, input)).map(unwrap_valr);
        let value = match outputs.next() {
            None => return Answer::None,
            Some(Err(_)) => return Answer::Raised,
            Some(Ok(value)) => value,
        };
        match outputs.next() {
            None => {}
            Some(Err(_)) => return Answer::Raised,
            Some(Ok(_)) => return Answer::Several,
        }
        let mut output = Capped { bytes: Vec::new(), bytes_max: output_bytes_max };
        match write::write(&mut output, &write::Pp::default(), 0, &value) {
            Ok(()) => Answer::Output(output.bytes),
            Err(_) => Answer::TooLarge,
        }
    }
}

fn not_loaded(code: &str, errors: load::Errors<&str, ()>) -> Wrong {
    let first = errors.into_iter().next().map(|(_, error)| error);
    let (place, problem) = match first {
        Some(load::Error::Parse(errors)) => match errors.into_iter().next() {
            Some((expected, found)) => (found, format!("expected {}", expected.as_str())),
            None => ("", "cannot be read".to_owned()),
        },
        Some(load::Error::Lex(errors)) => {
            (errors.first().map_or("", |(_, found)| *found), "something here is not jq".to_owned())
        }
        Some(load::Error::Io(errors)) => {
            (errors.first().map_or("", |(path, _)| *path), "other files cannot be included".to_owned())
        }
        None => ("", "cannot be read".to_owned()),
    };
    Wrong { line: line_of(code, place), problem }
}

/// The line of `part`, which is a slice of `code`; 1 for any other.
fn line_of(code: &str, part: &str) -> usize {
    let offset = (part.as_ptr() as usize).wrapping_sub(code.as_ptr() as usize);
    code.get(..offset).map_or(1, |before| 1 + before.matches('\n').count())
}

/// Takes no more than agreed.
struct Capped {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(code: &str, body: &str) -> Result<String, Answer> {
        let program = Program::compile(code).unwrap_or_else(|wrong| panic!("{code}: {wrong:?}"));
        match program.run(body.as_bytes(), 1000) {
            Answer::Output(bytes) => Ok(String::from_utf8(bytes).expect("JSON is UTF-8")),
            other => Err(other),
        }
    }

    #[test]
    fn numbers_and_the_order_of_members_pass_a_program_as_they_are() {
        let body = r#"{"z":123456789012345678901234567890.123456789,"a":9007199254740993,"m":1.50,"e":1e2,"u":"é"}"#;
        assert_eq!(run(".", body).as_deref(), Ok(body));
        assert_eq!(run(".new = 1", body), Ok(body.replace('}', r#","new":1}"#)));
    }

    #[test]
    fn a_program_gives_one_value_or_none_counts() {
        assert_eq!(run(".[]", "[1,2]"), Err(Answer::Several));
        assert_eq!(run("empty", "1"), Err(Answer::None));
        assert_eq!(run("error(\"secret\")", "1"), Err(Answer::Raised));
        assert_eq!(run(".a + 1", "[]"), Err(Answer::Raised));
        assert_eq!(run(". * 600", "\"ab\""), Err(Answer::TooLarge));
        assert_eq!(run("test(\"^a+$\") | not", "\"aab\"").as_deref(), Ok("true"));
    }

    #[test]
    fn what_speaks_to_the_outside_is_not_there() {
        for name in ["now", "env", "input", "inputs", "debug", "stderr", "halt", "localtime", "$ENV", "input_filename"]
        {
            let wrong = Program::compile(&format!("\n{name}")).err();
            assert_eq!(wrong.map(|wrong| wrong.line), Some(2), "{name}");
        }
        let wrong = check("include \"x\"; .").expect_err("no files");
        assert_eq!(wrong.problem, "other files cannot be included");
    }

    #[test]
    fn what_is_wrong_with_a_program_names_its_line() {
        let wrong = |code| check(code).expect_err("no program");
        assert_eq!(wrong(".a |\n  nosuch"), Wrong { line: 2, problem: "there is no filter nosuch".to_owned() });
        assert_eq!(wrong(".a |\n\n"), Wrong { line: 3, problem: "expected term".to_owned() });
        assert_eq!(wrong("\"abc").line, 1);
        assert_eq!(wrong("§").problem, "something here is not jq");
        assert!(wrong(&" ".repeat(PROGRAM_BYTES_MAX + 1)).problem.contains("more than"));
    }

    #[test]
    fn the_most_nested_programs_are_checked_within_the_stack() {
        let half = PROGRAM_BYTES_MAX / 2;
        let nested = |open: &str, inside: &str, close: &str| {
            let count = (PROGRAM_BYTES_MAX - inside.len()) / (open.len() + close.len());
            format!("{}{inside}{}", open.repeat(count), close.repeat(count))
        };
        for code in [
            nested("(", ".", ")"),
            nested("[", ".", "]"),
            nested("-", "1", ""),
            nested("{a:", "1", "}"),
            nested(".|", ".", ""),
            nested(".,", ".", ""),
            nested("1+", "1", ""),
            nested("\"\\(", "1", ")\""),
            nested(".", "a", "?"),
            nested("try ", "1", ""),
            nested("if .then ", "1", " end"),
            nested(".[", ".", "]"),
            nested("def a:", "1", ";."),
            nested("1as$x|", "1", ""),
            "(".repeat(half),
            "[{".repeat(half),
        ] {
            // Whether it is one does not matter: that there is an answer does.
            let _answer = check(&code);
        }
    }
}
