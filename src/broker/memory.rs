//! A broker in memory, which behaves as RabbitMQ does where the pipeline can tell, and fails when told to.
//!
//! It keeps what the law is about: messages in order, delivery tags that count from 1 on each channel, the prefetch
//! window, cumulative acks, and redelivery at the original position once a channel is gone. It has no exchanges: a
//! message is published to a queue. It never waits for the wall clock, so tests may pause time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Broker, Clock, ConnectError, Ended, Glance, Intake, Settler, Standing, Subscription};
use crate::event::{Delivery, Message};

/// A broker with its queues; clones are the same broker. Asking about a queue that does not exist gives nothing.
#[derive(Clone)]
pub struct Memory {
    state: Arc<Mutex<State>>,
    clock: Clock,
}

/// How the next ack goes wrong. In each case the connection is gone afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckFault {
    /// The ack fails, and the broker never saw it.
    Unsent,
    /// The ack succeeds for us, but the broker never saw it.
    Swallowed,
    /// The ack fails for us, but the broker did act on it.
    Unheard,
}

/// How long an owner takes to notice that its connection is dead: two heartbeats.
pub const NOTICED_AFTER: Duration = Duration::from_secs(20);

#[derive(Default)]
struct State {
    queues: BTreeMap<String, Arc<Mutex<Queue>>>,
    refusals: VecDeque<ConnectError>,
    channels_opened: u64,
}

impl Memory {
    pub fn new(clock: Clock) -> Self {
        Self { state: Arc::default(), clock }
    }

    /// Makes the queue if it is absent.
    pub fn declare(&self, queue: &str) {
        lock(&self.state).queues.entry(queue.to_owned()).or_default();
    }

    /// Appends a message; false when there is no such queue.
    pub fn publish(&self, queue: &str, message: Message) -> bool {
        self.with(queue, |queue| {
            let position = queue.published;
            queue.published += 1;
            queue.ready.insert(position, Stored { message, position, returns: 0 });
            queue.serve();
            true
        })
    }

    /// Messages that no consumer holds, in order.
    pub fn ready(&self, queue: &str) -> Vec<Message> {
        self.with(queue, |queue| queue.ready.values().map(|stored| stored.message.clone()).collect())
    }

    /// Messages that consumers hold, whether handed out yet or not.
    pub fn unacked(&self, queue: &str) -> usize {
        self.with(queue, |queue| queue.channels.iter().map(|channel| channel.unacked.len()).sum())
    }

    /// Messages gone for good, in the order of their acks.
    pub fn acked(&self, queue: &str) -> Vec<Message> {
        self.with(queue, |queue| queue.acked.clone())
    }

    /// Channels ever opened: how often somebody connected.
    pub fn channels_opened(&self) -> u64 {
        lock(&self.state).channels_opened
    }

    /// Cuts all connections that consume from the queue.
    pub fn cut(&self, queue: &str) {
        self.with(queue, |queue| queue.end_all(&Ended::Lost { reason: "connection cut".into() }));
    }

    /// Cuts all connections that consume from the queue, and tells only the queue: their owners go on as if nothing had
    /// happened, until [`NOTICED_AFTER`].
    pub fn half_open(&self, queue: &str) {
        self.with(queue, |queue| queue.orphan_all(Instant::now() + NOTICED_AFTER));
    }

    /// Ends all subscriptions to the queue, as the broker does when it objects to something.
    pub fn refuse(&self, queue: &str, reason: &str) {
        let (reason, mend) = (reason.to_owned(), "see the broker's log".to_owned());
        let why = Ended::Refused { queue: queue.to_owned(), reason, mend };
        self.with(queue, |queue| queue.end_all(&why));
    }

    /// Cancels all consumers of the queue; what they hold they may still settle.
    pub fn cancel_consumers(&self, queue: &str) {
        self.with(queue, Queue::cancel_all);
    }

    /// Deletes the queue with all that is in it: consumers are cancelled, and their acks do nothing.
    pub fn delete(&self, queue: &str) {
        self.with(queue, |queue| {
            queue.deleted = true;
            queue.ready.clear();
            queue.cancel_all();
        });
        lock(&self.state).queues.remove(queue);
    }

    /// Drops a message that was given back more often than that, as a queue with a delivery limit and no dead-letter
    /// exchange does.
    pub fn limit_deliveries(&self, queue: &str, returns_max: u32) {
        self.with(queue, |queue| queue.returns_max = Some(returns_max));
    }

    /// How often the message that was given back most often was.
    pub fn most_returns(&self, queue: &str) -> u32 {
        self.with(queue, |queue| queue.most_returns)
    }

    /// Messages lost to the delivery limit.
    pub fn dropped(&self, queue: &str) -> usize {
        self.with(queue, |queue| queue.dropped)
    }

    /// Makes the next ack on the queue go wrong.
    pub fn fail_next_ack(&self, queue: &str, fault: AckFault) {
        self.with(queue, |queue| queue.ack_fault = Some(fault));
    }

    /// Answers one coming attempt to consume with `error`; each call adds one.
    pub fn refuse_next_connect(&self, error: ConnectError) {
        lock(&self.state).refusals.push_back(error);
    }

    fn with<T: Default>(&self, queue: &str, act: impl FnOnce(&mut Queue) -> T) -> T {
        let queue = lock(&self.state).queues.get(queue).map(Arc::clone);
        queue.map(|queue| act(&mut lock(&queue))).unwrap_or_default()
    }
}

#[async_trait]
impl Broker for Memory {
    async fn consume(&self, subscription: &Subscription) -> Result<(Box<dyn Intake>, Box<dyn Settler>), ConnectError> {
        let mut state = lock(&self.state);
        if let Some(error) = state.refusals.pop_front() {
            return Err(error);
        }
        let name = &subscription.queue;
        if subscription.declare.is_some() {
            state.queues.entry(name.clone()).or_default();
        }
        let queue = state.queue(name)?;
        state.channels_opened += 1;
        let id = state.channels_opened;
        let arrived = lock(&queue).open(id, usize::from(subscription.prefetch.max(1)));
        let handle = Arc::new(Handle { queue, id, name: name.clone() });
        let intake = MemoryIntake { handle: Arc::clone(&handle), arrived, clock: self.clock };
        Ok((Box::new(intake), Box::new(MemorySettler { handle })))
    }

    async fn peek(&self, glance: &Glance) -> Result<Vec<Message>, ConnectError> {
        let mut state = lock(&self.state);
        if let Some(error) = state.refusals.pop_front() {
            return Err(error);
        }
        let queue = state.queue(&glance.queue)?;
        state.channels_opened += 1;
        Ok(lock(&queue).peek(glance))
    }
}

impl State {
    fn queue(&self, name: &str) -> Result<Arc<Mutex<Queue>>, ConnectError> {
        self.queues.get(name).map(Arc::clone).ok_or_else(|| ConnectError::Refused {
            broker: "memory".into(),
            reason: format!("404 NOT_FOUND - no queue '{name}'"),
            mend: format!("create the queue `{name}` (or set declare), or name another in `queue`"),
        })
    }
}

#[derive(Default)]
struct Queue {
    /// Messages that no consumer holds, by their position in the queue.
    ready: BTreeMap<u64, Stored>,
    published: u64,
    /// All that ever opened, ended or not, until their owners let go.
    channels: Vec<Channel>,
    /// The channel that is served next, among those with room.
    turn: usize,
    acked: Vec<Message>,
    ack_fault: Option<AckFault>,
    deleted: bool,
    returns_max: Option<u32>,
    most_returns: u32,
    dropped: usize,
}

struct Stored {
    message: Message,
    position: u64,
    /// How often it was given back.
    returns: u32,
}

/// A channel with its consumer.
struct Channel {
    id: u64,
    prefetch: usize,
    /// The deliveries with the tags `acked + 1` to `acked + unacked.len()`.
    unacked: VecDeque<Stored>,
    acked: u64,
    handed_out: u64,
    consuming: bool,
    ended: Option<Ended>,
    /// The broker gave it up, and its owner notices only then.
    noticed_at: Option<Instant>,
    arrived: Arc<Notify>,
}

impl Queue {
    fn open(&mut self, id: u64, prefetch: usize) -> Arc<Notify> {
        let arrived = Arc::new(Notify::new());
        self.channels.push(Channel {
            id,
            prefetch,
            unacked: VecDeque::new(),
            acked: 0,
            handed_out: 0,
            consuming: true,
            ended: None,
            noticed_at: None,
            arrived: Arc::clone(&arrived),
        });
        self.serve();
        arrived
    }

    /// Gives ready messages to the consumers that have room, in turn.
    fn serve(&mut self) {
        let count = self.channels.len();
        while !self.ready.is_empty() {
            let has_room = |index: &usize| self.channels[*index].has_room();
            let Some(index) = (0..count).map(|offset| (self.turn + offset) % count).find(has_room) else { return };
            let Some((_, stored)) = self.ready.pop_first() else { return };
            self.channels[index].unacked.push_back(stored);
            self.channels[index].arrived.notify_one();
            self.turn = index + 1;
        }
    }

    fn peek(&mut self, glance: &Glance) -> Vec<Message> {
        let (mut looked_at, mut bytes) = (VecDeque::new(), 0);
        while looked_at.len() < glance.messages_max
            && bytes < glance.bytes_max
            && let Some((_, stored)) = self.ready.pop_first()
        {
            bytes += stored.message.body.len();
            looked_at.push_back(stored);
        }
        let messages = looked_at.iter().map(|stored| stored.message.clone()).collect();
        self.give_back(looked_at);
        messages
    }

    fn give_back(&mut self, unacked: VecDeque<Stored>) {
        if !self.deleted {
            for mut stored in unacked {
                stored.message.redelivered = true;
                stored.returns += 1;
                self.most_returns = self.most_returns.max(stored.returns);
                if self.returns_max.is_some_and(|most| stored.returns > most) {
                    self.dropped += 1;
                    continue;
                }
                self.ready.insert(stored.position, stored);
            }
        }
        self.serve();
    }

    /// The channel `id`, which is there for as long as a half of its subscription is.
    fn channel(&mut self, id: u64) -> &mut Channel {
        let found = self.channels.iter_mut().find(|channel| channel.id == id);
        found.expect("a channel is removed only when its last handle is dropped")
    }

    /// Ends a channel: what it held is ready again.
    fn end(&mut self, id: u64, why: Ended) {
        let channel = self.channel(id);
        channel.consuming = false;
        channel.ended.get_or_insert(why);
        channel.arrived.notify_one();
        let unacked = std::mem::take(&mut channel.unacked);
        self.give_back(unacked);
    }

    fn end_all(&mut self, why: &Ended) {
        // First none consumes, so that none is given what another held.
        self.cancel_all();
        for id in self.channels.iter().map(|channel| channel.id).collect::<Vec<_>>() {
            self.end(id, why.clone());
        }
    }

    /// As [`Queue::end_all`], without a word to their owners.
    fn orphan_all(&mut self, noticed_at: Instant) {
        let mut unacked = VecDeque::new();
        for channel in self.channels.iter_mut().filter(|channel| channel.ended.is_none()) {
            channel.consuming = false;
            channel.noticed_at.get_or_insert(noticed_at);
            channel.arrived.notify_one();
            unacked.extend(std::mem::take(&mut channel.unacked));
        }
        self.give_back(unacked);
    }

    fn cancel_all(&mut self) {
        for channel in &mut self.channels {
            channel.consuming = false;
            channel.arrived.notify_one();
        }
    }

    /// Settles the deliveries up to `tag`, as the broker does.
    fn ack(&mut self, id: u64, tag: u64) {
        let deleted = self.deleted;
        let channel = self.channel(id);
        let count = usize::try_from(tag - channel.acked).unwrap_or(usize::MAX).min(channel.unacked.len());
        channel.acked = tag;
        let acked: Vec<Stored> = channel.unacked.drain(..count).collect();
        if !deleted {
            self.acked.extend(acked.into_iter().map(|stored| stored.message));
        }
        self.serve();
    }
}

impl Channel {
    fn has_room(&self) -> bool {
        self.consuming && self.unacked.len() < self.prefetch
    }

    /// Up to `max` deliveries that were sent but not handed out yet.
    fn take(&mut self, max: usize, clock: Clock) -> Vec<Delivery> {
        let sent = self.acked + self.unacked.len() as u64;
        let first = self.handed_out + 1;
        let last = sent.min(self.handed_out.saturating_add(max as u64));
        if first > last {
            return Vec::new();
        }
        self.handed_out = last;
        let received_at = clock();
        let tags = first..=last;
        let acked = self.acked;
        let message = |tag: u64| self.unacked[(tag - acked - 1) as usize].message.clone();
        tags.map(|tag| Delivery { tag, received_at, message: message(tag) }).collect()
    }
}

/// What both halves share; dropping the last ends the channel.
struct Handle {
    queue: Arc<Mutex<Queue>>,
    id: u64,
    name: String,
}

impl Handle {
    fn cancelled(&self) -> Ended {
        Ended::Cancelled { queue: self.name.clone() }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut queue = lock(&self.queue);
        queue.end(self.id, Ended::Lost { reason: "dropped".into() });
        queue.channels.retain(|channel| channel.id != self.id);
    }
}

struct MemoryIntake {
    handle: Arc<Handle>,
    arrived: Arc<Notify>,
    clock: Clock,
}

impl MemoryIntake {
    /// What can be said at once: deliveries, none yet, or the end.
    fn poll(&self, max: usize) -> Result<Vec<Delivery>, Ended> {
        let mut queue = lock(&self.handle.queue);
        let channel = queue.channel(self.handle.id);
        if let Some(ended) = &channel.ended {
            return Err(ended.clone());
        }
        let batch = channel.take(max.max(1), self.clock);
        match batch.is_empty() && !channel.consuming && channel.noticed_at.is_none() {
            true => Err(self.handle.cancelled()),
            false => Ok(batch),
        }
    }

    /// Waits until there may be something new.
    async fn changed(&self) {
        let noticed_at = lock(&self.handle.queue).channel(self.handle.id).noticed_at;
        match noticed_at {
            None => self.arrived.notified().await,
            Some(noticed_at) => {
                tokio::time::sleep_until(noticed_at).await;
                let lost = Ended::Lost { reason: "no heartbeat".into() };
                lock(&self.handle.queue).end(self.handle.id, lost);
            }
        }
    }
}

#[async_trait]
impl Intake for MemoryIntake {
    async fn next(&mut self, max: usize) -> Result<Vec<Delivery>, Ended> {
        loop {
            let batch = self.poll(max)?;
            if !batch.is_empty() {
                return Ok(batch);
            }
            self.changed().await;
        }
    }

    async fn lost(&mut self) -> Ended {
        loop {
            if let Some(ended) = &lock(&self.handle.queue).channel(self.handle.id).ended {
                return ended.clone();
            }
            self.changed().await;
        }
    }

    async fn widen(&mut self, prefetch: u16) -> Result<(), Ended> {
        if lock(&self.handle.queue).channel(self.handle.id).noticed_at.is_some() {
            // No answer comes.
            return Err(self.lost().await);
        }
        let mut queue = lock(&self.handle.queue);
        let deleted = queue.deleted;
        let channel = queue.channel(self.handle.id);
        match &channel.ended {
            Some(ended) => Err(ended.clone()),
            None if deleted => Err(self.handle.cancelled()),
            None => {
                channel.prefetch = usize::from(prefetch.max(1));
                channel.consuming = true;
                queue.serve();
                Ok(())
            }
        }
    }

    async fn cancel(&mut self) -> Result<Vec<Delivery>, Ended> {
        if lock(&self.handle.queue).channel(self.handle.id).noticed_at.is_some() {
            // No answer comes.
            return Err(self.lost().await);
        }
        lock(&self.handle.queue).channel(self.handle.id).consuming = false;
        match self.poll(usize::MAX) {
            Err(Ended::Cancelled { .. }) => Ok(Vec::new()),
            other => other,
        }
    }
}

struct MemoryStanding(Weak<Handle>);

#[async_trait]
impl Standing for MemoryStanding {
    async fn confirm(&self) -> Result<(), Ended> {
        let lost = || Ended::Lost { reason: "the channel is closed".into() };
        let noticed_at = {
            let handle = self.0.upgrade().ok_or_else(lost)?;
            let mut queue = lock(&handle.queue);
            let channel = queue.channel(handle.id);
            if channel.ended.is_some() {
                return Err(lost());
            }
            channel.noticed_at
        };
        match noticed_at {
            None => Ok(()),
            Some(noticed_at) => {
                tokio::time::sleep_until(noticed_at).await;
                Err(lost())
            }
        }
    }
}

struct MemorySettler {
    handle: Arc<Handle>,
}

#[async_trait]
impl Settler for MemorySettler {
    async fn ack_through(&mut self, tag: u64) -> Result<(), Ended> {
        let id = self.handle.id;
        let mut queue = lock(&self.handle.queue);
        let channel = queue.channel(id);
        let handed_out = channel.handed_out;
        assert!(tag <= handed_out, "ack of delivery {tag}, but the intake handed out only up to {handed_out}");
        if tag <= channel.acked {
            return Ok(());
        }
        let lost = Ended::Lost { reason: "the channel is closed".into() };
        if channel.ended.is_some() {
            return Err(lost);
        }
        if channel.noticed_at.is_some() {
            // Written, and never read by anybody.
            return Ok(());
        }
        let fault = queue.ack_fault.take();
        if matches!(fault, None | Some(AckFault::Unheard)) {
            queue.ack(id, tag);
        }
        if fault.is_some() {
            queue.end(id, Ended::Lost { reason: "connection lost around an ack".into() });
        }
        match fault {
            None | Some(AckFault::Swallowed) => Ok(()),
            Some(AckFault::Unsent | AckFault::Unheard) => Err(lost),
        }
    }

    async fn requeue_all(&mut self) -> Result<(), Ended> {
        let mut queue = lock(&self.handle.queue);
        let channel = queue.channel(self.handle.id);
        if channel.ended.is_some() {
            return Err(Ended::Lost { reason: "the channel is closed".into() });
        }
        let unacked = std::mem::take(&mut channel.unacked);
        channel.acked += unacked.len() as u64;
        channel.handed_out = channel.acked;
        queue.give_back(unacked);
        Ok(())
    }

    fn standing(&self) -> Arc<dyn Standing> {
        Arc::new(MemoryStanding(Arc::downgrade(&self.handle)))
    }

    async fn close(self: Box<Self>) {
        lock(&self.handle.queue).end(self.handle.id, Ended::Lost { reason: "closed by us".into() });
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
