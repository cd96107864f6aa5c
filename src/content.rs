//! Content encodings of bodies: what `content_encoding` says a body is compressed with (the names of RFC 9110, 8.4.1, and
//! of RFC 8878), undone, and done again. Pure.
//!
//! Any other name, such as the `utf-8` that some clients write there, says nothing of compression: such a body is taken as
//! it stands.

use std::borrow::Cow;
use std::io::{self, Read, Write};

use flate2::bufread::{DeflateDecoder, ZlibDecoder};
use flate2::read::MultiGzDecoder;
use flate2::write::{GzEncoder, ZlibEncoder};

use crate::event::Message;

/// The most bytes that a body is opened to where no pipeline sets a limit.
pub const BYTES_MAX: usize = 64 << 20;

/// The largest window of a zstd frame, as a power of two: what RFC 8878 (3.1.1.1.2) asks every decoder to have.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 1952; several members are one body.
    Gzip,
    /// The zlib format (RFC 1950), or, since some senders mean that, bare deflate (RFC 1951).
    Deflate,
    /// RFC 8878; several frames are one body.
    Zstd,
}

/// Why a body cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// It is not what its encoding says, or ends too soon.
    Broken(Encoding),
    /// It is longer than may be, decompressed.
    TooLarge,
}

impl Encoding {
    /// What the message says; `None`: its body is to be taken as it stands.
    pub fn of(message: &Message) -> Option<Self> {
        let name = message.properties.content_encoding.as_deref()?.trim();
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        match () {
            () if is("gzip") || is("x-gzip") => Some(Encoding::Gzip),
            () if is("deflate") => Some(Encoding::Deflate),
            () if is("zstd") => Some(Encoding::Zstd),
            () => None,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Encoding::Gzip => "gzip",
            Encoding::Deflate => "deflate",
            Encoding::Zstd => "zstd",
        }
    }

    /// `plain`, compressed; of deflate as zlib.
    pub fn close(self, plain: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::default();
        let closed = match self {
            Encoding::Gzip => written(GzEncoder::new(Vec::new(), level), plain).and_then(GzEncoder::finish),
            Encoding::Deflate => written(ZlibEncoder::new(Vec::new(), level), plain).and_then(ZlibEncoder::finish),
            Encoding::Zstd => zstd::bulk::compress(plain, 0),
        };
        closed.expect("a Vec takes all bytes")
    }

    fn open_into(self, body: &[u8], bytes_max: usize, plain: &mut Vec<u8>) -> Result<(), Closed> {
        let broken = |_: io::Error| Closed::Broken(self);
        match self {
            Encoding::Gzip => read_within(MultiGzDecoder::new(body), bytes_max, plain).map(drop),
            // These end with the stream, whatever follows.
            Encoding::Deflate if is_zlib(body) => read_within(ZlibDecoder::new(body), bytes_max, plain)
                .and_then(|decoder| ended(decoder.into_inner(), plain.len() > bytes_max)),
            Encoding::Deflate => read_within(DeflateDecoder::new(body), bytes_max, plain)
                .and_then(|decoder| ended(decoder.into_inner(), plain.len() > bytes_max)),
            Encoding::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(broken)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(broken)?;
                read_within(decoder, bytes_max, plain).map(drop)
            }
        }
        .map_err(broken)?;
        if plain.len() > bytes_max { Err(Closed::TooLarge) } else { Ok(()) }
    }
}

fn written<W: Write>(mut encoder: W, plain: &[u8]) -> io::Result<W> {
    encoder.write_all(plain)?;
    Ok(encoder)
}

/// Whether it begins as RFC 1950 (2.2) has it.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [method, flags, ..] if method & 0x0f == 8 && u16::from_be_bytes([*method, *flags]).is_multiple_of(31))
}

/// One byte more than may be tells that there are more.
fn read_within<R: Read>(decoder: R, bytes_max: usize, plain: &mut Vec<u8>) -> io::Result<R> {
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let mut limited = decoder.take(most);
    limited.read_to_end(plain)?;
    Ok(limited.into_inner())
}

/// Nothing may follow; of what is cut off for its size that cannot be told.
fn ended(rest: &[u8], is_cut: bool) -> io::Result<()> {
    match rest.is_empty() || is_cut {
        true => Ok(()),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// The body of `message`, decompressed into `plain` if it says that it is compressed.
///
/// # Errors
/// [`Closed`]; what `plain` holds then is of no use.
pub fn open<'b>(message: &'b Message, bytes_max: usize, plain: &'b mut Vec<u8>) -> Result<&'b [u8], Closed> {
    let Some(encoding) = Encoding::of(message) else { return Ok(&message.body) };
    plain.clear();
    encoding.open_into(&message.body, bytes_max, plain)?;
    Ok(plain)
}

/// The body of `message`, decompressed if it can be, within [`BYTES_MAX`]; else as it stands.
pub fn opened(message: &Message) -> Cow<'_, [u8]> {
    match Encoding::of(message) {
        None => Cow::Borrowed(&message.body),
        Some(encoding) => opened_as(encoding, &message.body),
    }
}

/// The same of a body that lies elsewhere.
pub fn opened_as(encoding: Encoding, body: &[u8]) -> Cow<'_, [u8]> {
    let mut plain = Vec::new();
    match encoding.open_into(body, BYTES_MAX, &mut plain) {
        Ok(()) => Cow::Owned(plain),
        Err(_) => Cow::Borrowed(body),
    }
}

#[cfg(test)]
mod tests {
    use flate2::write::DeflateEncoder;
    use proptest::prelude::*;

    use super::*;

    fn message(body: Vec<u8>, encoding: &str) -> Message {
        let mut message = Message { body, ..Message::default() };
        message.properties.content_encoding = Some(encoding.to_owned());
        message
    }

    fn opening(message: &Message, bytes_max: usize) -> Result<Vec<u8>, Closed> {
        open(message, bytes_max, &mut Vec::new()).map(<[u8]>::to_vec)
    }

    proptest! {
        #[test]
        fn what_is_closed_opens_to_what_it_was(body in prop::collection::vec(any::<u8>(), 0..2000)) {
            for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd] {
                let closed = message(encoding.close(&body), encoding.as_str());
                prop_assert_eq!(opening(&closed, 2000), Ok(body.clone()));
                prop_assert_eq!(&*opened(&closed), body.as_slice());
            }
        }

        #[test]
        fn any_bytes_are_opened_or_refused(body in prop::collection::vec(any::<u8>(), 0..200), cut in 0..200_usize) {
            for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd] {
                let _ = opening(&message(body.clone(), encoding.as_str()), 1000);
                let mut closed = encoding.close(&body);
                let whole = closed.len();
                closed.truncate(cut);
                if cut < whole && cut > 0 {
                    prop_assert_eq!(opening(&message(closed, encoding.as_str()), 1000), Err(Closed::Broken(encoding)));
                }
            }
        }
    }

    #[test]
    fn names_are_known_however_they_are_written_and_others_say_nothing() {
        for (name, encoding) in [
            ("gzip", Some(Encoding::Gzip)),
            ("GZIP", Some(Encoding::Gzip)),
            ("x-gzip", Some(Encoding::Gzip)),
            (" zstd ", Some(Encoding::Zstd)),
            ("deflate", Some(Encoding::Deflate)),
            ("utf-8", None),
            ("identity", None),
            ("", None),
            ("br", None),
        ] {
            assert_eq!(Encoding::of(&message(Vec::new(), name)), encoding, "{name}");
        }
        assert_eq!(Encoding::of(&Message::default()), None);
        assert_eq!(opening(&message(b"{}".to_vec(), "utf-8"), 10), Ok(b"{}".to_vec()));
    }

    #[test]
    fn nothing_is_opened_beyond_the_limit() {
        let large = vec![b' '; 20 << 20];
        for encoding in [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd] {
            let bomb = message(encoding.close(&large), encoding.as_str());
            assert!(bomb.body.len() < 40_000, "{} bytes", bomb.body.len());
            let mut plain = Vec::new();
            assert_eq!(open(&bomb, 1000, &mut plain).map(<[u8]>::len), Err(Closed::TooLarge));
            assert!(plain.capacity() < 1 << 20, "{} bytes were made room for", plain.capacity());
        }
        assert_eq!(opening(&message(Encoding::Gzip.close(&[1; 10]), "gzip"), 10), Ok(vec![1; 10]));
        assert_eq!(opening(&message(Encoding::Gzip.close(&[1; 11]), "gzip"), 10), Err(Closed::TooLarge));
    }

    #[test]
    fn a_zstd_frame_that_wants_a_large_window_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
        encoder.window_log(27).expect("it may be that large");
        encoder.write_all(b"{}").expect("a Vec takes all");
        let frame = encoder.finish().expect("a Vec takes all");
        assert_eq!(opening(&message(frame, "zstd"), 10), Err(Closed::Broken(Encoding::Zstd)));
    }

    #[test]
    fn bare_deflate_and_several_members_are_read() {
        let level = flate2::Compression::default();
        let bare = written(DeflateEncoder::new(Vec::new(), level), b"{\"a\":1}").and_then(DeflateEncoder::finish);
        assert_eq!(opening(&message(bare.unwrap(), "deflate"), 10), Ok(b"{\"a\":1}".to_vec()));
        let two = [Encoding::Gzip.close(b"{\"a\""), Encoding::Gzip.close(b":1}")].concat();
        assert_eq!(opening(&message(two, "gzip"), 10), Ok(b"{\"a\":1}".to_vec()));
        let two = [Encoding::Zstd.close(b"{\"a\""), Encoding::Zstd.close(b":1}")].concat();
        assert_eq!(opening(&message(two, "zstd"), 10), Ok(b"{\"a\":1}".to_vec()));
        let level = flate2::Compression::default();
        let bare = written(DeflateEncoder::new(Vec::new(), level), b"{}").and_then(DeflateEncoder::finish).unwrap();
        for (whole, encoding) in [
            (Encoding::Gzip.close(b"{}"), Encoding::Gzip),
            (Encoding::Zstd.close(b"{}"), Encoding::Zstd),
            (Encoding::Deflate.close(b"{}"), Encoding::Deflate),
            (bare, Encoding::Deflate),
        ] {
            for more in [b"more".to_vec(), Encoding::Deflate.close(b"{}")] {
                let trailing = message([whole.clone(), more].concat(), encoding.as_str());
                assert_eq!(opening(&trailing, 10), Err(Closed::Broken(encoding)), "{encoding:?}");
            }
        }
    }
}
