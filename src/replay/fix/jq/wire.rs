//! What passes between us and the child: frames of a length (four bytes, little-endian) and that many bytes. First one with
//! the limits and the program; then a body each, answered by a frame each.

use std::io::{self, Read, Write};
use std::time::Duration;

use super::JqLimits;

/// What became of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Output(Vec<u8>),
    /// The program raised an error. Its text may hold values, so it stays in the child.
    Raised,
    None,
    Several,
    TooLarge,
    TooLong,
    /// The body was no JSON, or the program no program: both were looked at before.
    Unreadable,
    Panicked,
}

const TAGS: [Answer; 7] = [
    Answer::Raised,
    Answer::None,
    Answer::Several,
    Answer::TooLarge,
    Answer::TooLong,
    Answer::Unreadable,
    Answer::Panicked,
];

impl Answer {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Answer::Output(bytes) => [&[0], bytes.as_slice()].concat(),
            other => {
                let tag = TAGS.iter().position(|tag| tag == other).expect("all but outputs have a tag");
                vec![u8::try_from(tag + 1).expect("there are seven")]
            }
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.split_first()? {
            (0, output) => Some(Answer::Output(output.to_vec())),
            (tag, _) => TAGS.get(usize::from(*tag) - 1).cloned(),
        }
    }
}

pub(super) fn encode_setup(limits: JqLimits, program: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(24 + program.len());
    bytes.extend(u64::try_from(limits.time.as_millis()).unwrap_or(u64::MAX).to_le_bytes());
    bytes.extend(limits.memory_bytes.to_le_bytes());
    bytes.extend((limits.output_bytes as u64).to_le_bytes());
    bytes.extend(program.as_bytes());
    bytes
}

pub(super) fn decode_setup(bytes: &[u8]) -> Option<(JqLimits, String)> {
    let (numbers, program) = bytes.split_at_checked(24)?;
    let number = |at: usize| numbers[at..at + 8].try_into().map(u64::from_le_bytes).ok();
    let limits = JqLimits {
        time: Duration::from_millis(number(0)?),
        memory_bytes: number(8)?,
        output_bytes: usize::try_from(number(16)?).ok()?,
    };
    Some((limits, String::from_utf8(program.to_vec()).ok()?))
}

pub(super) fn write_frame(output: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    output.write_all(&length.to_le_bytes())?;
    output.write_all(bytes)?;
    output.flush()
}

/// The next frame; `None` where the other side ended between two of them.
pub(super) fn read_frame(input: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match input.read_exact(&mut length) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut bytes = vec![0; u32::from_le_bytes(length) as usize];
    input.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_side_writes_the_other_reads() {
        for answer in TAGS.into_iter().chain([Answer::Output(b"{}".to_vec())]) {
            assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }
        let limits = JqLimits::default();
        assert_eq!(decode_setup(&encode_setup(limits, ".a")), Some((limits, ".a".to_owned())));
        let mut frames = Vec::new();
        write_frame(&mut frames, b"abc").expect("a Vec takes all");
        let mut rest = frames.as_slice();
        assert_eq!(read_frame(&mut rest).expect("whole"), Some(b"abc".to_vec()));
        assert_eq!(read_frame(&mut rest).expect("ended"), None);
    }
}
