//! Content encodings of bodies: what `content_encoding` says a body is compressed with (the names of RFC 9110, 8.4.1, of
//! RFC 8878, and those that senders use for what no RFC names), undone, and done again. Pure.
//!
//! Any other name, such as the `utf-8` that some clients write there, says nothing of compression: such a body is taken as
//! it stands.

use std::borrow::Cow;
use std::io::{self, Read, Write};

use flate2::bufread::{DeflateDecoder, ZlibDecoder};
use flate2::read::MultiGzDecoder;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use lz4_flex::frame::{FrameDecoder as Lz4Decoder, FrameEncoder as Lz4Encoder};
use snap::read::FrameDecoder as SnappyDecoder;
use snap::write::FrameEncoder as SnappyEncoder;

use crate::event::Message;

/// The most bytes that a body is opened to where no pipeline sets a limit.
pub const BYTES_MAX: usize = 64 << 20;

/// The largest window of a zstd frame, as a power of two: what RFC 8878 (3.1.1.1.2) asks every decoder to have.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// What a frame of lz4 begins with.
const LZ4_FRAME: &[u8] = &0x184d_2204_u32.to_le_bytes();

/// What a stream of snappy begins with (<https://github.com/google/snappy/blob/main/framing_format.txt>, 4.1). No block can:
/// its third element would point before its beginning.
const SNAPPY_STREAM: &[u8] = b"\xff\x06\0\0sNaPpY";

/// More than so many bytes no byte of a block of snappy stands for: an element of three makes 64 at most.
const SNAPPY_RATIO_MAX: usize = 64;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// RFC 1952; several members are one body.
    Gzip,
    /// The zlib format (RFC 1950), or, since some senders mean that, bare deflate (RFC 1951).
    Deflate,
    /// RFC 8878; several frames are one body.
    Zstd,
    /// The frame format (<https://github.com/lz4/lz4/blob/dev/doc/lz4_Frame_format.md>) without a dictionary; several frames are
    /// one body.
    Lz4,
    /// The framing format or, since some senders mean that, one bare block
    /// (<https://github.com/google/snappy/blob/main/format_description.txt>).
    Snappy,
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
            () if is("lz4") => Some(Encoding::Lz4),
            () if is("snappy") || is("x-snappy-framed") => Some(Encoding::Snappy),
            () => None,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Encoding::Gzip => "gzip",
            Encoding::Deflate => "deflate",
            Encoding::Zstd => "zstd",
            Encoding::Lz4 => "lz4",
            Encoding::Snappy => "snappy",
        }
    }

    /// `plain`, compressed as `before` was, if that is so compressed.
    pub fn close_as(self, plain: &[u8], before: &[u8]) -> Vec<u8> {
        let was_so = || self.open_into(before, BYTES_MAX, &mut Vec::new()).is_ok();
        match self {
            Encoding::Snappy if !before.starts_with(SNAPPY_STREAM) && was_so() => {
                snap::raw::Encoder::new().compress_vec(plain).expect("a body is far shorter than 4 GiB")
            }
            Encoding::Deflate if !is_zlib(before) && was_so() => {
                let encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::default());
                written(encoder, plain).and_then(DeflateEncoder::finish).expect("a Vec takes all bytes")
            }
            _ => self.close(plain),
        }
    }

    /// `plain`, compressed; of deflate as zlib, of snappy in frames.
    pub fn close(self, plain: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::default();
        let closed = match self {
            Encoding::Gzip => written(GzEncoder::new(Vec::new(), level), plain).and_then(GzEncoder::finish),
            Encoding::Deflate => written(ZlibEncoder::new(Vec::new(), level), plain).and_then(ZlibEncoder::finish),
            Encoding::Zstd => zstd::bulk::compress(plain, 0),
            Encoding::Lz4 => written(Lz4Encoder::new(Vec::new()), plain)
                .and_then(|encoder| encoder.finish().map_err(io::Error::from)),
            // The encoder begins its stream with the first byte that it is given.
            Encoding::Snappy if plain.is_empty() => Ok(SNAPPY_STREAM.to_vec()),
            Encoding::Snappy => written(SnappyEncoder::new(Vec::new()), plain)
                .and_then(|encoder| encoder.into_inner().map_err(|failed| failed.into_error())),
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
            Encoding::Lz4 => read_lz4(body, bytes_max, plain),
            Encoding::Snappy if body.starts_with(SNAPPY_STREAM) => {
                read_within(SnappyDecoder::new(body), bytes_max, plain).map(drop)
            }
            Encoding::Snappy => return read_snappy_block(body, bytes_max, plain),
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

/// Reads frame after frame, each found whole first: to the library the end of the body is the end of a frame, too.
fn read_lz4(mut body: &[u8], bytes_max: usize, plain: &mut Vec<u8>) -> io::Result<()> {
    while !body.is_empty() && plain.len() <= bytes_max {
        let len = lz4_frame_len(body).ok_or(io::ErrorKind::UnexpectedEof)?;
        let (frame, rest) = body.split_at(len);
        let decoder = read_within(Lz4Decoder::new(frame), bytes_max - plain.len(), plain)?;
        ended(decoder.into_inner(), plain.len() > bytes_max)?;
        body = rest;
    }
    Ok(())
}

/// Bytes of the frame of lz4 that `body` begins with; `None`: none does, or not all of it is there.
fn lz4_frame_len(body: &[u8]) -> Option<usize> {
    let (&flags, _) = body.strip_prefix(LZ4_FRAME)?.split_first()?;
    let is = |bit: u8| usize::from(flags >> bit & 1);
    let (block_checksum, content_size, content_checksum, dictionary) = (is(4), is(3), is(2), is(0));
    // Magic number, flags, block size, what the flags say there is, checksum of that.
    let mut at = LZ4_FRAME.len() + 3 + 8 * content_size + 4 * dictionary;
    loop {
        let (size, _) = body.get(at..)?.split_first_chunk()?;
        at += size.len();
        match u32::from_le_bytes(*size) {
            0 => {
                at += 4 * content_checksum;
                return (at <= body.len()).then_some(at);
            }
            // The highest bit tells of a block that is not compressed.
            size => at = at.checked_add((size & !(1 << 31)) as usize + 4 * block_checksum)?,
        }
    }
}

/// A block says first how long it is, decompressed.
fn read_snappy_block(body: &[u8], bytes_max: usize, plain: &mut Vec<u8>) -> Result<(), Closed> {
    let broken = |_: snap::Error| Closed::Broken(Encoding::Snappy);
    let len = snap::raw::decompress_len(body).map_err(broken)?;
    if len > body.len().saturating_mul(SNAPPY_RATIO_MAX) {
        return Err(Closed::Broken(Encoding::Snappy));
    }
    if len > bytes_max {
        return Err(Closed::TooLarge);
    }
    plain.resize(len, 0);
    snap::raw::Decoder::new().decompress(body, plain).map_err(broken)?;
    Ok(())
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

    const ALL: [Encoding; 5] = [Encoding::Gzip, Encoding::Deflate, Encoding::Zstd, Encoding::Lz4, Encoding::Snappy];

    proptest! {
        #[test]
        fn what_is_closed_opens_to_what_it_was(body in prop::collection::vec(any::<u8>(), 0..2000)) {
            for encoding in ALL {
                let closed = message(encoding.close(&body), encoding.as_str());
                prop_assert_eq!(opening(&closed, 2000), Ok(body.clone()));
                prop_assert_eq!(&*opened(&closed), body.as_slice());
            }
        }

        #[test]
        fn any_bytes_are_opened_or_refused(body in prop::collection::vec(any::<u8>(), 0..200), cut in 0..200_usize) {
            for encoding in ALL {
                let _ = opening(&message(body.clone(), encoding.as_str()), 1000);
                let mut closed = encoding.close(&body);
                let whole = closed.len();
                closed.truncate(cut);
                // A stream of snappy has no end of its own: of a short one only that shows nothing which begins it alone.
                if cut < whole && cut > 0 && (encoding != Encoding::Snappy || cut > SNAPPY_STREAM.len()) {
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
            ("LZ4", Some(Encoding::Lz4)),
            ("snappy", Some(Encoding::Snappy)),
            ("x-snappy-framed", Some(Encoding::Snappy)),
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
        for encoding in ALL {
            let bomb = message(encoding.close(&large), encoding.as_str());
            assert!(bomb.body.len() < large.len() / 20, "{} bytes", bomb.body.len());
            let mut plain = Vec::new();
            assert_eq!(open(&bomb, 1000, &mut plain).map(<[u8]>::len), Err(Closed::TooLarge));
            assert!(plain.capacity() < 1 << 20, "{} bytes were made room for", plain.capacity());
        }
        let block = snap::raw::Encoder::new().compress_vec(&large).expect("it is short enough");
        assert_eq!(opening(&message(block, "snappy"), 1000), Err(Closed::TooLarge));
        for encoding in ALL {
            let closed = |len: usize| message(encoding.close(&vec![1; len]), encoding.as_str());
            assert_eq!(opening(&closed(10), 10), Ok(vec![1; 10]), "{encoding:?}");
            assert_eq!(opening(&closed(11), 10), Err(Closed::TooLarge), "{encoding:?}");
        }
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
        for encoding in [Encoding::Lz4, Encoding::Snappy] {
            let two = [encoding.close(b"{\"a\""), encoding.close(b":1}")].concat();
            assert_eq!(opening(&message(two, encoding.as_str()), 10), Ok(b"{\"a\":1}".to_vec()));
        }
        for encoding in ALL {
            assert_eq!(opening(&message(encoding.close(b""), encoding.as_str()), 10), Ok(Vec::new()), "{encoding:?}");
        }
        let level = flate2::Compression::default();
        let bare = written(DeflateEncoder::new(Vec::new(), level), b"{}").and_then(DeflateEncoder::finish).unwrap();
        for (whole, encoding) in [
            (Encoding::Gzip.close(b"{}"), Encoding::Gzip),
            (Encoding::Zstd.close(b"{}"), Encoding::Zstd),
            (Encoding::Deflate.close(b"{}"), Encoding::Deflate),
            (bare, Encoding::Deflate),
            (Encoding::Lz4.close(b"{}"), Encoding::Lz4),
            (Encoding::Snappy.close(b"{}"), Encoding::Snappy),
            (snap::raw::Encoder::new().compress_vec(b"{}").expect("it is short enough"), Encoding::Snappy),
        ] {
            for more in [b"more".to_vec(), Encoding::Deflate.close(b"{}")] {
                let trailing = message([whole.clone(), more].concat(), encoding.as_str());
                assert_eq!(opening(&trailing, 10), Err(Closed::Broken(encoding)), "{encoding:?}");
            }
        }
    }

    #[test]
    fn a_bare_block_of_snappy_is_read_and_stays_one() {
        let body = br#"{"a":1,"a very long name":"a very long name"}"#;
        let block = snap::raw::Encoder::new().compress_vec(body).expect("it is short enough");
        assert_eq!(opening(&message(block.clone(), "snappy"), 100), Ok(body.to_vec()));
        for cut in 1..block.len() {
            let opened = opening(&message(block[..cut].to_vec(), "snappy"), 100);
            assert_eq!(opened, Err(Closed::Broken(Encoding::Snappy)), "{cut}");
        }
        // A length that no block of so few bytes has is none.
        let boast = b"\xff\xff\xff\x7f\0a".to_vec();
        assert_eq!(opening(&message(boast, "snappy"), 100), Err(Closed::Broken(Encoding::Snappy)));
        assert_eq!(
            snap::raw::Decoder::new().decompress_vec(&Encoding::Snappy.close_as(b"{}", &block)),
            Ok(b"{}".to_vec())
        );
        let framed = Encoding::Snappy.close(body);
        for before in [&framed[..], b"{}"] {
            assert!(Encoding::Snappy.close_as(b"{}", before).starts_with(SNAPPY_STREAM));
        }
    }

    #[test]
    fn bare_deflate_stays_bare() {
        let deflated = |plain: &[u8]| {
            let encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::default());
            written(encoder, plain).and_then(DeflateEncoder::finish).expect("a Vec takes all")
        };
        let mended = Encoding::Deflate.close_as(b"{}", &deflated(b"{\"a\":1}"));
        assert_eq!(mended, deflated(b"{}"));
        // Of what was zlib, or nothing that can be read, it is zlib.
        for before in [Encoding::Deflate.close(b"{\"a\":1}"), b"{}".to_vec()] {
            assert!(is_zlib(&Encoding::Deflate.close_as(b"{}", &before)));
        }
    }

    #[test]
    fn what_follows_a_body_is_refused_byte_by_byte() {
        for encoding in ALL {
            for byte in 0..=u8::MAX {
                let trailing = message([encoding.close(b"{}"), vec![byte]].concat(), encoding.as_str());
                assert_eq!(opening(&trailing, 10), Err(Closed::Broken(encoding)), "{encoding:?} {byte:02x}");
            }
        }
    }

    #[test]
    fn a_frame_of_lz4_without_its_end_is_cut_off() {
        // Of several blocks, cut between two of them.
        let large: Vec<u8> =
            (0..200_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        let frame = Encoding::Lz4.close(&large);
        assert_eq!(opening(&message(frame.clone(), "lz4"), large.len()), Ok(large.clone()));
        let mut cuts: Vec<usize> = (0..frame.len()).step_by(997).skip(1).collect();
        // Without its end mark, and with half of it.
        cuts.extend([frame.len() - 1, frame.len() - 2, frame.len() - 4]);
        for cut in cuts {
            let opened = opening(&message(frame[..cut].to_vec(), "lz4"), large.len());
            assert_eq!(opened, Err(Closed::Broken(Encoding::Lz4)), "{cut}");
        }
    }
}
