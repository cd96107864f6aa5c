//! Compressed bodies.

use parqueduct::content::{self, Closed, Encoding};
use parqueduct::event::Message;

/// By the last two bits of the first byte; the third one chooses of the last two.
fn encoding(choice: u8) -> Encoding {
    match (choice % 4, choice & 4) {
        (0, _) => Encoding::Gzip,
        (1, _) => Encoding::Deflate,
        (2, _) => Encoding::Zstd,
        (_, 0) => Encoding::Lz4,
        _ => Encoding::Snappy,
    }
}

/// More than so many bytes are never made of a body.
const BYTES_MAX: usize = 2000;

/// What is opened is within the limit, and the same within any limit that it fits; what is broken is broken within any. Two
/// bodies of a format that has members are one body; what follows one that has none is refused.
pub fn content(input: &[u8]) {
    let Some((choice, body)) = input.split_first() else { return };
    let encoding = encoding(*choice);
    let opened = open(encoding, body, BYTES_MAX);
    match &opened {
        Ok(plain) => {
            assert!(plain.len() <= BYTES_MAX);
            assert_eq!(open(encoding, body, plain.len()).as_ref(), Ok(plain));
            if let Some(less) = plain.len().checked_sub(1) {
                assert_eq!(open(encoding, body, less), Err(Closed::TooLarge));
            }
            let twice = [body, body].concat();
            match encoding {
                // A block, and not a stream, has no members.
                Encoding::Snappy if !body.starts_with(b"\xff\x06\0\0sNaPpY") => {}
                Encoding::Gzip | Encoding::Zstd | Encoding::Lz4 | Encoding::Snappy => {
                    assert_eq!(open(encoding, &twice, 2 * BYTES_MAX), Ok(plain.repeat(2)));
                }
                Encoding::Deflate => assert_eq!(open(encoding, &twice, BYTES_MAX), Err(Closed::Broken(encoding))),
            }
            assert_eq!(*content::opened_as(encoding, body), plain[..]);
        }
        Err(Closed::TooLarge) => assert!(matches!(open(encoding, body, BYTES_MAX / 2), Err(Closed::TooLarge))),
        Err(Closed::Broken(by)) => assert_eq!(*by, encoding),
    }
    // Compressing costs many times what all this does.
    if *choice >= 0xf0 {
        assert_eq!(open(encoding, &encoding.close(body), body.len()).as_deref(), Ok(body));
    }
}

fn open(encoding: Encoding, body: &[u8], bytes_max: usize) -> Result<Vec<u8>, Closed> {
    let mut message = Message { body: body.to_vec(), ..Message::default() };
    message.properties.content_encoding = Some(encoding.as_str().to_owned());
    let mut plain = Vec::new();
    let opened = content::open(&message, bytes_max, &mut plain).map(<[u8]>::to_vec);
    assert!(plain.len() <= bytes_max + 1, "{} bytes where {bytes_max} may be", plain.len());
    opened
}
