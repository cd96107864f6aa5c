//! Publishing to RabbitMQ byte by byte, for what no client library would send (AMQP 0-9-1, 2.3.5 and 4.2).

use std::collections::BTreeSet;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A message as it goes over the wire.
pub struct Raw {
    pub exchange: Vec<u8>,
    pub routing_key: Vec<u8>,
    /// Flags, and the properties they announce.
    pub properties: Vec<u8>,
    /// Not empty, and less than a frame.
    pub body: Vec<u8>,
}

/// Flags of properties (the highest bit is the first), for [`Raw::properties`].
pub const CONTENT_TYPE: u16 = 0x8000;
pub const HEADERS: u16 = 0x2000;
pub const MESSAGE_ID: u16 = 0x0080;

/// A short string.
pub fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("short")], text].concat()
}

/// What has four bytes of length before it: a long string, a table, an array.
pub fn long(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).expect("long").to_be_bytes()[..], bytes].concat()
}

/// Properties with those flags.
pub fn properties(flags: u16, values: &[Vec<u8>]) -> Vec<u8> {
    [flags.to_be_bytes().to_vec(), values.concat()].concat()
}

fn frame(kind: u8, channel: u8, payload: &[u8]) -> Vec<u8> {
    [&[kind, 0, channel], &long(payload)[..], &[0xce]].concat()
}

fn method(channel: u8, class: u8, method: u8, rest: &[u8]) -> Vec<u8> {
    frame(1, channel, &[&[0, class, 0, method], rest].concat())
}

/// Publishes `messages`, and returns when the broker has them.
pub async fn publish(port: u16, messages: &[Raw]) {
    let start_ok = [long(b""), short(b"PLAIN"), long(b"\0guest\0guest"), short(b"en_US")].concat();
    let mut broker = TcpStream::connect(("127.0.0.1", port)).await.expect("connecting");
    ask(&mut broker, b"AMQP\0\0\x09\x01", [10, 10]).await;
    ask(&mut broker, &method(0, 10, 11, &start_ok), [10, 30]).await;
    // Channels at most 2047, frames at most 128 KiB, no heartbeat; then open the virtual host.
    let tuned = [method(0, 10, 31, &[7, 255, 0, 2, 0, 0, 0, 0]), method(0, 10, 40, b"\x01/\0\0")].concat();
    ask(&mut broker, &tuned, [10, 41]).await;
    ask(&mut broker, &method(1, 20, 10, b"\0"), [20, 11]).await;
    ask(&mut broker, &method(1, 85, 10, b"\0"), [85, 11]).await;
    for Raw { exchange, routing_key, properties, body } in messages {
        let publish = [&[0, 0][..], &short(exchange), &short(routing_key), &[0]].concat();
        let header = [&[0, 60, 0, 0][..], &(body.len() as u64).to_be_bytes(), properties].concat();
        let sent = [method(1, 60, 40, &publish), frame(2, 1, &header), frame(3, 1, body)].concat();
        broker.write_all(&sent).await.expect("writing");
    }
    // Confirms are numbered from one; one may stand for all before it.
    let mut open: BTreeSet<u64> = (1..=messages.len() as u64).collect();
    while !open.is_empty() {
        let payload = read_frame(&mut broker).await;
        assert_eq!([payload[1], payload[3]], [60, 80], "the broker says {}", String::from_utf8_lossy(&payload));
        let tag = u64::from_be_bytes(payload[4..12].try_into().expect("eight bytes"));
        match payload[12] {
            0 => drop(open.remove(&tag)),
            _ => open.retain(|of| *of > tag),
        }
    }
}

/// The payload of the next frame, and the byte that ends it.
async fn read_frame(broker: &mut TcpStream) -> Vec<u8> {
    let mut head = [0; 7];
    broker.read_exact(&mut head).await.expect("an answer");
    let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
    let mut payload = vec![0; size as usize + 1];
    broker.read_exact(&mut payload).await.expect("all of it");
    payload
}

/// Sends `bytes`, and waits for an answer of that class and method.
async fn ask(broker: &mut TcpStream, bytes: &[u8], expected: [u8; 2]) {
    broker.write_all(bytes).await.expect("writing");
    let payload = read_frame(broker).await;
    let answered = [payload[1], payload[3]];
    assert_eq!(answered, expected, "the broker says {}", String::from_utf8_lossy(&payload));
}
