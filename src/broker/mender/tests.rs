//! Streams of frames through the mender: by hand, by chance, in pieces of any size, and past the client library's parser.

use lapin::protocol::basic::parse_properties;
use lapin::protocol::parse_class;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("a short text")], text].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).expect("a frame's worth").to_be_bytes()[..], bytes].concat()
}

fn frame(kind: u8, channel: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 0, channel], &long(payload)[..], &[END]].concat()
}

fn deliver(channel: u8, tag: u64, exchange: &[u8], key: &[u8]) -> Vec<u8> {
    let names = [short(exchange), short(key)].concat();
    frame(METHOD, channel, &[&[0, 60, 0, 60], &short(b"ctag")[..], &tag.to_be_bytes(), &[0], &names].concat())
}

fn header(channel: u8, section: &[u8]) -> Vec<u8> {
    frame(HEADER, channel, &[&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2], section].concat())
}

/// A message of channel 1 with those properties, and the body `{}`.
fn message(tag: u64, section: &[u8]) -> Vec<u8> {
    [deliver(1, tag, b"events", b"key"), header(1, section), frame(3, 1, b"{}")].concat()
}

/// Properties that are headers alone.
fn headers(table: &[u8]) -> Vec<u8> {
    [&[0x20, 0], &long(table)[..]].concat()
}

/// What comes out when `stream` is read in pieces of those sizes, over and over, and the notes.
fn mended(stream: &[u8], sizes: &[usize]) -> (Vec<u8>, Vec<Note>) {
    let notes = Arc::<Notes>::default();
    let mut mender = Mender::new(Arc::clone(&notes));
    let mut sizes = sizes.iter().copied().cycle();
    let (mut rest, mut out) = (stream, Vec::new());
    loop {
        let mut buffer = vec![0; sizes.next().expect("there are sizes")];
        let mut count = mender.give(&mut buffer);
        if count == 0 {
            let read = buffer.len().min(mender.wanted()).min(rest.len());
            if read == 0 {
                break;
            }
            buffer[..read].copy_from_slice(&rest[..read]);
            rest = &rest[read..];
            count = mender.take(&mut buffer[..read]);
        }
        out.extend(&buffer[..count]);
    }
    (out, notes.take_through(u64::MAX).into())
}

fn parts(note: &Note) -> Vec<(&str, &[u8])> {
    note.unreadable.iter().map(|part| (&*part.place, &*part.bytes)).collect()
}

#[test]
fn a_property_that_is_not_utf8_is_replaced_and_noted() {
    let section = |text: &[u8]| [&[0x80, 0x80], &short(b"text/plain")[..], &short(text)].concat();
    let stream =
        [message(1, &section(b"fine")), message(2, &section(b"caf\xe9-\xe2\x82")), message(3, &[0, 0])].concat();
    let expected = [message(1, &section(b"fine")), message(2, &section(b"caf?-??")), message(3, &[0, 0])].concat();
    let (out, notes) = mended(&stream, &[stream.len()]);
    assert_eq!(out, expected);
    assert_eq!(notes.len(), 1);
    assert_eq!(notes[0].tag, 2);
    assert_eq!(parts(&notes[0]), [("message_id", &b"caf\xe9-\xe2\x82"[..])]);
}

#[test]
fn an_exchange_and_a_routing_key_are_mended_too() {
    let stream = [deliver(1, 7, b"\xff", b"k\xc0\xafz"), header(1, &[0, 0])].concat();
    let (out, notes) = mended(&stream, &[16]);
    assert_eq!(out, [deliver(1, 7, b"?", b"k??z"), header(1, &[0, 0])].concat());
    assert_eq!(parts(&notes[0]), [("exchange", &b"\xff"[..]), ("routing_key", b"k\xc0\xafz")]);
}

#[test]
fn a_message_that_was_asked_for_is_mended_as_one_that_was_delivered() {
    let get_ok = |exchange: &[u8], key: &[u8]| {
        let names = [short(exchange), short(key)].concat();
        frame(METHOD, 1, &[&[0, 60, 0, 71][..], &9_u64.to_be_bytes(), &[1], &names, &[0, 0, 0, 3]].concat())
    };
    let section = |text: &[u8]| [&[0x80, 0x00], &short(text)[..]].concat();
    let stream = [get_ok(b"\xff", b"key"), header(1, &section(b"\xfe")), frame(3, 1, b"{}")].concat();
    let (out, notes) = mended(&stream, &[16]);
    assert_eq!(out, [get_ok(b"?", b"key"), header(1, &section(b"?")), frame(3, 1, b"{}")].concat());
    assert_eq!((notes.len(), notes[0].tag), (1, 9));
    assert_eq!(parts(&notes[0]), [("exchange", &b"\xff"[..]), ("content_type", b"\xfe")]);
    assert!(parse_class(&out[7..]).is_ok());
}

#[test]
fn names_of_headers_are_mended_at_any_depth_and_the_whole_table_is_kept() {
    let table = |outer: &[u8], inner: &[u8], other: &[u8]| {
        let nested = [&short(inner)[..], b"A", &long(&[b"F", &long(&[&short(b"z")[..], b"V"].concat())[..]].concat())];
        [&short(outer)[..], b"F", &long(&nested.concat()), &short(other), b"S", &long(b"\xff\xfe")].concat()
    };
    let raw = table(b"o", b"\xffn", b"\xfe");
    let (out, notes) = mended(&message(1, &headers(&raw)), &[64]);
    assert_eq!(out, message(1, &headers(&table(b"o", b"?n", b"?"))));
    let whole = long(&raw);
    assert_eq!(parts(&notes[0]), [("headers/o/?n", &b"\xffn"[..]), ("headers/?", b"\xfe"), ("headers", &whole)]);
}

#[test]
fn a_thousand_broken_names_are_noted_by_the_whole_table() {
    let name = |byte: u8| [&short(&[byte])[..], b"V"].concat();
    let (out, notes) = mended(&message(1, &headers(&name(0xff).repeat(1000))), &[999]);
    assert_eq!(out, message(1, &headers(&name(b'?').repeat(1000))));
    assert_eq!(parts(&notes[0]).len(), 17);
    assert_eq!(notes[0].unreadable[16].bytes.len(), 4 + 3000);
}

/// A table in a table, so many times.
fn nested(levels: usize) -> Vec<u8> {
    (0..levels).fold(b"\x01kV".to_vec(), |inside, _| [&b"\x01kF"[..], &long(&inside)].concat())
}

#[test]
fn tables_nested_too_deep_are_kept_and_do_not_reach_the_client_library() {
    let deepest = message(1, &headers(&nested(DEPTH_MAX)));
    assert_eq!(mended(&deepest, &[100]), (deepest, vec![]));
    for levels in [DEPTH_MAX + 1, 15_000] {
        let section = headers(&nested(levels));
        let stream = [message(1, &section), message(2, &[0, 0])].concat();
        for size in [22, 4096, stream.len()] {
            let (out, notes) = mended(&stream, &[size]);
            assert!(out == [message(1, &[0, 0]), message(2, &[0, 0])].concat(), "{levels} in pieces of {size}");
            assert_eq!(notes.len(), 1);
            assert_eq!(parts(&notes[0]), [("properties", &section[..])]);
        }
    }
}

#[test]
fn a_header_larger_than_a_frame_is_kept_and_does_not_reach_the_client_library() {
    let value = |bytes: usize| headers(&[&short(b"big")[..], b"S", &long(&vec![b'x'; bytes])].concat());
    // What is around the value: a frame's head and end, what is before the properties, flags, table, name, tag, length.
    let around = HEAD_BYTES + 1 + 12 + 2 + 4 + 4 + 1 + 4;
    let largest = message(1, &value(FRAME_BYTES_MAX as usize - around));
    assert!(mended(&largest, &[5000]) == (largest, vec![]));
    let section = value(FRAME_BYTES_MAX as usize - around + 1);
    let stream = [message(1, &section), message(2, &[0, 0])].concat();
    for size in [5000, stream.len()] {
        let (out, notes) = mended(&stream, &[size]);
        assert!(out == [message(1, &[0, 0]), message(2, &[0, 0])].concat(), "in pieces of {size}");
        assert!(parts(&notes[0]) == [("properties", &section[..])]);
    }
    // A broker whose own limit is lower, and one that has none.
    let tune = |limit: u32| frame(METHOD, 0, &[&[0, 10, 0, 30, 7, 255], &limit.to_be_bytes()[..], &[0, 60]].concat());
    let section = value(4096 - around + 1);
    let (out, notes) = mended(&[tune(4096), message(1, &section)].concat(), &[999]);
    assert!(out == [tune(4096), message(1, &[0, 0])].concat() && parts(&notes[0]) == [("properties", &section[..])]);
    let stream = [tune(0), message(1, &section)].concat();
    assert!(mended(&stream, &[999]) == (stream, vec![]));
    let beyond = message(1, &value(HEADER_BYTES_MAX));
    assert!(mended(&beyond, &[5000]) == (beyond, vec![]));
}

#[test]
fn what_was_mended_before_the_properties_turned_out_broken_is_kept_as_it_came() {
    // A content type that is mended, then headers of an unknown type.
    let section = [&[0xa0, 0], &short(b"\xff")[..], &long(b"\x01k?")].concat();
    let (_, notes) = mended(&[deliver(1, 1, b"", b"\xfe"), header(1, &section)].concat(), &[512]);
    assert_eq!(parts(&notes[0]), [("routing_key", &b"\xfe"[..]), ("properties", &section)]);
}

#[test]
fn a_header_of_no_delivery_passes_as_it_is() {
    let broken = header(1, &[0x80, 0, 1, 0xff]);
    let returned = frame(METHOD, 1, &[&[0, 60, 0, 50, 1, 56], &short(b"NO_ROUTE")[..]].concat());
    let stream = [returned, broken.clone(), deliver(2, 1, b"", b""), broken].concat();
    assert_eq!(mended(&stream, &[64]), (stream, vec![]));
}

#[test]
fn notes_are_taken_up_to_a_delivery() {
    let notes = Notes::default();
    let note = |tag| Note { tag, unreadable: vec![Unreadable::new("message_id", &[0xff])] };
    [2, 5, 9].map(note).into_iter().for_each(|note| notes.add(note));
    assert_eq!(notes.take_through(1), []);
    assert_eq!(notes.take_through(5), [2, 5].map(note));
    assert_eq!(notes.take_through(8), []);
    assert_eq!(notes.take_through(9), [9].map(note));
}

/// Bytes of a short string: text, or any.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => "[a-z\u{e9}\u{20ac}]{0,6}".prop_map(String::into_bytes), 1 => vec(any::<u8>(), 0..9)]
}

/// A value with its tag, as it stands in a table.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let fixed = prop::sample::select(&b"tbBsUuIifDLldTV"[..]).prop_flat_map(|tag| {
        let bytes = match tag {
            b'V' => 0,
            b't' | b'b' | b'B' => 1,
            b's' | b'U' | b'u' => 2,
            b'I' | b'i' | b'f' => 4,
            b'D' => 5,
            _ => 8,
        };
        vec(any::<u8>(), bytes).prop_map(move |value| [&[tag], &value[..]].concat())
    });
    let bytes = (prop::sample::select(&b"Sx"[..]), vec(any::<u8>(), 0..20));
    let bytes = bytes.prop_map(|(tag, value)| [&[tag], &long(&value)[..]].concat());
    prop_oneof![fixed, bytes].prop_recursive(4, 24, 4, |inner| {
        let array = vec(inner.clone(), 0..4).prop_map(|values| [b"A", &long(&values.concat())[..]].concat());
        let table = members(inner).prop_map(|table| [b"F", &long(&table)[..]].concat());
        prop_oneof![array, table]
    })
}

fn members(value: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let member = (name(), value).prop_map(|(name, value)| [short(&name), value].concat());
    vec(member, 0..4).prop_map(|members| members.concat())
}

/// Properties as RabbitMQ passes them on: well-formed, but for the names and texts.
fn section() -> impl Strategy<Value = Vec<u8>> {
    let texts = vec(name(), 10);
    let rest = (members(value()), any::<[u8; 2]>(), any::<[u8; 8]>());
    (any::<u16>(), texts, rest).prop_map(|(flags, texts, (headers, octets, time))| {
        let flags = flags & !0b11;
        let text = |at: usize| short(&texts[at]);
        let all = [
            text(0),
            text(1),
            long(&headers),
            vec![octets[0]],
            vec![octets[1]],
            text(2),
            text(3),
            text(4),
            text(5),
            time.to_vec(),
            text(6),
            text(7),
            text(8),
            text(9),
        ];
        let present = all.iter().enumerate().filter(|(bit, _)| flags & (0x8000 >> bit) != 0);
        [flags.to_be_bytes().to_vec(), present.flat_map(|(_, bytes)| bytes.clone()).collect()].concat()
    })
}

/// The same with some bytes changed, added or cut off.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<prop::sample::Index>(), any::<u8>()), 0..3);
    (section(), changes, vec(any::<u8>(), 0..3), 0..4usize).prop_map(|(mut section, changes, more, less)| {
        for (at, byte) in changes {
            let at = at.index(section.len());
            section[at] = byte;
        }
        section.truncate(section.len().saturating_sub(less).max(2));
        [section, more].concat()
    })
}

/// Frames of all kinds; what is in a message may be damaged.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let message = (name(), name(), damaged(), vec(any::<u8>(), 0..40), 1..3u8, any::<u64>());
    let message = message.prop_map(|(exchange, key, section, body, channel, tag)| {
        [deliver(channel, tag, &exchange, &key), header(channel, &section), frame(3, channel, &body)].concat()
    });
    let other = (prop::sample::select(&[1u8, 2, 3, 8, 9][..]), vec(any::<u8>(), 0..30));
    let other = other.prop_map(|(kind, payload)| frame(kind, 1, &payload));
    vec(prop_oneof![3 => message, 1 => other], 0..6).prop_map(|frames| frames.concat())
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1..12usize, 1..2000usize], 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn the_pieces_in_which_bytes_come_make_no_difference(stream in stream(), sizes in sizes()) {
        prop_assert_eq!(mended(&stream, &sizes), mended(&stream, &[stream.len().max(1)]));
    }

    #[test]
    fn any_bytes_pass_without_a_panic_and_frames_of_no_message_without_a_change(
        bytes in prop_oneof![vec(any::<u8>(), 0..200), (stream(), vec(any::<u8>(), 0..30)).prop_map(|(a, b)| [a, b].concat())],
        sizes in sizes(),
    ) {
        let (out, notes) = mended(&bytes, &sizes);
        prop_assert!(out.len() <= bytes.len(), "all but a frame that is not whole, and properties");
        if notes.is_empty() {
            // Only a delivery without its header may be changed and not noted.
            let changed = out.iter().zip(&bytes).filter(|(out, came)| out != came);
            prop_assert!(changed.into_iter().all(|(out, _)| *out == b'?'));
        }
    }

    #[test]
    fn what_the_client_library_takes_is_not_touched_and_what_it_gets_it_takes(section in damaged(), key in name()) {
        let (first, body) = (deliver(1, 1, b"", &key), frame(3, 1, b"{}"));
        let stream = [&first[..], &header(1, &section), &body].concat();
        let (out, notes) = mended(&stream, &[stream.len()]);
        let after = &out[first.len()..out.len() - body.len()];
        let [_, _, _, size @ ..] = after.first_chunk::<HEAD_BYTES>().expect("a frame");
        prop_assert_eq!(u32::from_be_bytes(*size) as usize + HEAD_BYTES + 1, after.len());
        prop_assert_eq!(after.last(), Some(&END));
        let after = &after[HEAD_BYTES + 12..after.len() - 1];
        let taken = |section: &[u8]| parse_properties(section).is_ok_and(|(rest, _)| rest.is_empty());
        prop_assert!(taken(after), "{:?} became {:?}", section, after);
        prop_assert!(parse_class(&out[HEAD_BYTES..first.len() - 1]).is_ok());
        prop_assert!(out.ends_with(&body));
        // Flags of no property are the one thing the client library overlooks.
        let no_flags = section[1] & 0b11 == 0;
        let fine = no_flags && taken(&section) && str::from_utf8(&key).is_ok();
        prop_assert_eq!(fine, notes.is_empty(), "{:?}", notes);
        if fine {
            prop_assert_eq!(out, stream);
        }
    }
}
