//! A line to a broker's port that can be cut, go dead, get slow, or lose the acks that pass it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What a line does with what it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Open,
    /// Nothing gets through, and nobody is told; also not that the other side has gone.
    Frozen,
    /// Each piece of up to 16 KiB waits that long, in each direction.
    Slow(Duration),
    /// `basic.ack` of the client is swallowed, all else gets through.
    WithoutAcks,
}

/// What a line has done so far.
#[derive(Default)]
struct Done {
    accepted: AtomicUsize,
    live: AtomicUsize,
    cut: AtomicUsize,
    slowed: AtomicUsize,
    acks_carried: AtomicUsize,
    acks_swallowed: AtomicUsize,
}

/// A line to a port, for a client that speaks AMQP 0-9-1 in the clear.
pub struct Proxy {
    port: u16,
    modes: Arc<watch::Sender<Mode>>,
    /// Cuts asked for, and those made.
    cuts: watch::Sender<usize>,
    cuts_made: watch::Receiver<usize>,
    done: Arc<Done>,
    _carriers: JoinSet<()>,
}

impl Proxy {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own_port = listener.local_addr().expect("bound").port();
        let (modes, cuts) = (Arc::new(watch::Sender::new(Mode::Open)), watch::Sender::new(0));
        let (made, cuts_made) = watch::channel(0);
        let done = Arc::new(Done::default());
        let mut carriers = JoinSet::new();
        carriers.spawn(accept(listener, port, Arc::clone(&modes), (cuts.subscribe(), made), Arc::clone(&done)));
        Self { port: own_port, modes, cuts, cuts_made, done, _carriers: carriers }
    }

    /// `uri` with this line's port.
    pub fn uri(&self, uri: &str, port: u16) -> String {
        uri.replace(&format!(":{port}/"), &format!(":{}/", self.port))
    }

    /// Everything goes through again, from now on; what was held back, first.
    pub fn open(&self) {
        self.modes.send_replace(Mode::Open);
    }

    /// Drops all connections, with what is held back in them; then the line is open. Returns when that is so: what is
    /// asked of the line next is not undone by it.
    pub async fn cut(&self) {
        let mut wanted = 0;
        self.cuts.send_modify(|cuts| {
            *cuts += 1;
            wanted = *cuts;
        });
        self.cuts_made.clone().wait_for(|made| *made >= wanted).await.expect("the line lives as long as this");
    }

    /// From now on nothing gets through, and nobody is told.
    pub fn freeze(&self) {
        self.modes.send_replace(Mode::Frozen);
    }

    /// From now on each piece takes `wait` longer.
    pub fn slow_down(&self, wait: Duration) {
        self.modes.send_replace(Mode::Slow(wait));
    }

    /// From now on acks are lost on their way, and nothing else is.
    pub fn swallow_acks(&self) {
        self.modes.send_replace(Mode::WithoutAcks);
    }

    /// Connections taken so far.
    pub fn accepted(&self) -> usize {
        self.done.accepted.load(Relaxed)
    }

    /// Connections that stand.
    pub fn live(&self) -> usize {
        self.done.live.load(Relaxed)
    }

    /// Connections that [`Proxy::cut`] ended.
    pub fn connections_cut(&self) -> usize {
        self.done.cut.load(Relaxed)
    }

    /// Pieces that were slowed down.
    pub fn slowed(&self) -> usize {
        self.done.slowed.load(Relaxed)
    }

    /// Acks handed to the broker.
    pub fn acks_carried(&self) -> usize {
        self.done.acks_carried.load(Relaxed)
    }

    /// Acks that a client wrote and the broker never saw.
    pub fn acks_swallowed(&self) -> usize {
        self.done.acks_swallowed.load(Relaxed)
    }
}

async fn accept(
    listener: TcpListener,
    port: u16,
    modes: Arc<watch::Sender<Mode>>,
    (mut cuts, made): (watch::Receiver<usize>, watch::Sender<usize>),
    done: Arc<Done>,
) {
    let mut lines = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (near, _) = accepted.expect("accepting");
                done.accepted.fetch_add(1, Relaxed);
                lines.spawn(carry(near, port, modes.subscribe(), Arc::clone(&done)));
            }
            Some(_) = lines.join_next() => {}
            changed = cuts.changed() => {
                if changed.is_err() {
                    return;
                }
                let (wanted, cut) = (*cuts.borrow_and_update(), lines.len());
                lines.shutdown().await;
                modes.send_replace(Mode::Open);
                done.cut.fetch_add(cut, Relaxed);
                made.send_replace(wanted);
            }
        }
    }
}

/// Carries one connection until either side ends it; a client that finds nobody behind the line is dropped.
async fn carry(near: TcpStream, port: u16, modes: watch::Receiver<Mode>, done: Arc<Done>) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    done.live.fetch_add(1, Relaxed);
    let _alive = Alive(&done);
    for end in [&near, &far] {
        end.set_nodelay(true).expect("an option of every socket");
    }
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = pass(near_read, far_write, modes.clone(), Some(Frames::default()), &done) => {}
        () = pass(far_read, near_write, modes, None, &done) => {}
    }
}

struct Alive<'a>(&'a Done);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.live.fetch_sub(1, Relaxed);
    }
}

/// Carries one direction; `frames` are those of a client, in which acks can be told apart.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut modes: watch::Receiver<Mode>,
    mut frames: Option<Frames>,
    done: &Done,
) {
    let mut bytes = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut bytes).await;
        let mode = match modes.wait_for(|mode| *mode != Mode::Frozen).await {
            Ok(mode) => *mode,
            Err(_) => return,
        };
        let Ok(length @ 1..) = read else { return };
        if let Mode::Slow(wait) = mode {
            tokio::time::sleep(wait).await;
            done.slowed.fetch_add(1, Relaxed);
        }
        let written = match &mut frames {
            Some(frames) => to.write_all(&frames.through(&bytes[..length], mode, done)).await,
            None => to.write_all(&bytes[..length]).await,
        };
        if written.is_err() {
            return;
        }
    }
}

/// The frames of an AMQP 0-9-1 client (specification, 2.3.5) in its stream of bytes.
#[derive(Default)]
struct Frames {
    /// The start of a frame whose end has not come yet.
    rest: Vec<u8>,
    greeted: bool,
}

/// `AMQP` and the version, before the first frame.
const GREETING_BYTES: usize = 8;
/// Type, channel and size before a frame's payload, and the octet after it.
const FRAME_BYTES: usize = 7 + 1;

impl Frames {
    /// What of `bytes`, and of what was kept of those before, gets through: whole frames only.
    fn through(&mut self, bytes: &[u8], mode: Mode, done: &Done) -> Vec<u8> {
        self.rest.extend_from_slice(bytes);
        let mut through = Vec::new();
        let mut at = 0;
        while let Some(length) = self.length(at) {
            let frame = &self.rest[at..at + length];
            let ack = self.greeted && is_ack(frame);
            let swallowed = ack && mode == Mode::WithoutAcks;
            if swallowed {
                done.acks_swallowed.fetch_add(1, Relaxed);
            } else {
                through.extend_from_slice(frame);
                done.acks_carried.fetch_add(usize::from(ack), Relaxed);
            }
            self.greeted = true;
            at += length;
        }
        self.rest.drain(..at);
        through
    }

    /// The length of the frame that begins at `at`, if all of it is there.
    fn length(&self, at: usize) -> Option<usize> {
        let rest = &self.rest[at..];
        let length = match self.greeted {
            false => GREETING_BYTES,
            true => FRAME_BYTES + u32::from_be_bytes(rest.get(3..7)?.try_into().expect("four bytes")) as usize,
        };
        (rest.len() >= length).then_some(length)
    }
}

/// Whether a frame is a method frame (type 1) that holds `basic.ack` (class 60, method 80).
fn is_ack(frame: &[u8]) -> bool {
    frame[0] == 1 && frame.get(7..11) == Some(&[0, 60, 0, 80])
}

#[test]
fn acks_are_found_wherever_the_stream_is_split() {
    let ack = [&[1, 0, 1, 0, 0, 0, 13, 0, 60, 0, 80][..], &[0; 9], &[0xce]].concat();
    let heartbeat = [8, 0, 0, 0, 0, 0, 0, 0xce];
    let stream = [&b"AMQP\0\0\x09\x01"[..], &heartbeat, &ack, &heartbeat].concat();
    let without = [&b"AMQP\0\0\x09\x01"[..], &heartbeat, &heartbeat].concat();
    for (mode, expected) in [(Mode::Open, &stream), (Mode::WithoutAcks, &without)] {
        for split in 0..stream.len() {
            let (mut frames, done) = (Frames::default(), Done::default());
            let mut through = frames.through(&stream[..split], mode, &done);
            through.extend(frames.through(&stream[split..], mode, &done));
            assert_eq!(&through, expected, "{mode:?}, split at {split}");
            assert_eq!(done.acks_carried.load(Relaxed) + done.acks_swallowed.load(Relaxed), 1);
        }
    }
}
