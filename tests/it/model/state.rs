//! What there is: messages at the broker, writers with their channels, flushes in the store, requests on their way.
//! Small enough to be copied, and to be hashed by the hundred thousand.

pub const MESSAGES_MAX: usize = 2;
pub const WRITERS: usize = 2;
/// At once: one that is settled and left nothing behind makes room.
pub const FLUSHES_MAX: usize = 4;

/// A set of messages, of objects of a flush, or of flushes: bit n stands for number n.
pub type Set = u8;

pub fn has(set: Set, number: usize) -> bool {
    set & (1 << number) != 0
}

pub fn members(set: Set) -> impl Iterator<Item = usize> {
    (0..8).filter(move |&number| has(set, number))
}

/// Requests that change the store, as a set: on the way, they take effect at any time.
pub type Requests = u8;
pub const INTENT: Requests = 1;
pub const OBJECTS: [Requests; 2] = [2, 4];
pub const COMMIT: Requests = 8;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Message {
    /// `flagged`: it was delivered before.
    Queued {
        flagged: bool,
    },
    /// Delivered over the channel of a writer, and unacked.
    Held {
        by: usize,
    },
    Acked,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Channel {
    #[default]
    None,
    Open,
    /// The broker took it for dead, and put back what it held. The writer does not know yet.
    HalfOpen,
}

/// What a writer makes of a message in its present epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Local {
    #[default]
    Absent,
    /// Flagged, and not looked up yet.
    Arrived,
    /// The look-up that goes on is for it.
    LookedUp,
    /// A row of the next flush.
    Row,
    /// A committed flush holds it: to be acked without a row.
    Repeat,
    /// In the flush that goes on: a row, or acked along with it.
    Flushing,
    /// Its ack was sent.
    Done,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum LookUp {
    #[default]
    None,
    /// The open intents were listed: these flushes.
    Listed(Set),
    /// The outcomes were read: these have none.
    Waiting(Set),
    /// Only of a flawed protocol: what was seen is believed from then on.
    Believed,
}

/// How far a writer is with its flush.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Phase {
    #[default]
    Idle,
    /// The intent is on its way.
    Announcing(usize),
    /// The intent is durable: objects are written, and the broker is asked whether the channel stands.
    Writing(usize),
    /// The outcome *committed* is on its way.
    Deciding(usize),
    /// The store was in trouble for too long: the owner aborts it, and goes by what then stands.
    GivingUp(usize),
}

impl Phase {
    pub fn flush(self) -> Option<usize> {
        match self {
            Phase::Idle => None,
            Phase::Announcing(f) | Phase::Writing(f) | Phase::Deciding(f) | Phase::GivingUp(f) => Some(f),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Writer {
    pub channel: Channel,
    pub messages: [Local; MESSAGES_MAX],
    /// Messages that were delivered after the other one: a cumulative ack includes those before.
    pub later: Set,
    pub look_up: LookUp,
    pub phase: Phase,
    /// The broker said, over the channel, that it stands.
    pub standing: bool,
    /// An ack on its way, of these messages.
    pub ack: Set,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Outcome {
    #[default]
    None,
    Committed,
    Aborted,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Flush {
    /// Whether this place is in use.
    pub begun: bool,
    pub owner: usize,
    /// The epoch that began it goes on.
    pub owned: bool,
    pub rows: Set,
    pub intent: bool,
    /// Those that exist, named as the requests that create them.
    pub objects: Requests,
    pub outcome: Outcome,
    /// Requests whose answer the owner waits for.
    pub awaited: Requests,
    /// Requests that nobody waits for: of a process that is gone, of one that gave up, or copies made by a retry.
    pub stray: Requests,
}

/// How often what may yet go wrong.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Faults {
    /// A process is killed, or the broker takes a channel for dead, of which its writer learns later.
    pub ends: u8,
    /// A flush is aborted by another though its owner goes on.
    pub impatience: u8,
    /// A writer gives a flush up, for the store is in trouble.
    pub give_ups: u8,
    /// A request is repeated, and both arrive.
    pub copies: u8,
    /// The broker delivers again what a channel holds that still answers.
    pub redeliveries: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct State {
    /// Of the scope's messages; the others count as acked from the start.
    pub messages: [Message; MESSAGES_MAX],
    pub writers: [Writer; WRITERS],
    pub flushes: [Flush; FLUSHES_MAX],
    pub faults: Faults,
}

impl State {
    pub fn start(messages: usize, faults: Faults) -> Self {
        let message = |number| if number < messages { Message::Queued { flagged: false } } else { Message::Acked };
        State {
            messages: std::array::from_fn(message),
            writers: [Writer::default(); WRITERS],
            flushes: [Flush::default(); FLUSHES_MAX],
            faults,
        }
    }

    pub fn begun(&self) -> impl Iterator<Item = (usize, &Flush)> {
        self.flushes.iter().enumerate().filter(|(_, flush)| flush.begun)
    }

    /// What a listing of the open intents gives.
    pub fn open_flushes(&self) -> impl Iterator<Item = usize> {
        self.begun().filter(|(_, flush)| flush.intent).map(|(f, _)| f)
    }

    /// In how many committed flushes a message is a row.
    pub fn times_committed(&self, message: usize) -> usize {
        self.begun().filter(|(_, flush)| flush.outcome == Outcome::Committed && has(flush.rows, message)).count()
    }

    /// What the grace is for: nothing of the flush is on its way, and its owner does not work on it.
    pub fn is_quiet(&self, f: usize) -> bool {
        let flush = &self.flushes[f];
        flush.awaited | flush.stray == 0 && self.writers.iter().all(|writer| writer.phase.flush() != Some(f))
    }

    /// The broker puts back what a channel held. An ack on its way is lost with it.
    pub fn channel_dies(&mut self, w: usize) {
        for message in &mut self.messages {
            if *message == (Message::Held { by: w }) {
                *message = Message::Queued { flagged: true };
            }
        }
        self.writers[w].channel = Channel::HalfOpen;
        self.writers[w].ack = 0;
    }

    /// A writer knows that its channel is gone, or closes it: all that the epoch held is forgotten.
    pub fn end_epoch(&mut self, w: usize) {
        self.channel_dies(w);
        if let Some(f) = self.writers[w].phase.flush() {
            let flush = &mut self.flushes[f];
            flush.stray |= flush.awaited;
            flush.awaited = 0;
            flush.owned = false;
        }
        self.writers[w] = Writer::default();
    }

    /// The same for two states that differ by the names of the writers alone: the lesser of them.
    pub fn regardless_of_names(&self) -> State {
        let mut other = *self;
        other.writers.reverse();
        for message in &mut other.messages {
            if let Message::Held { by } = message {
                *by = 1 - *by;
            }
        }
        for flush in other.flushes.iter_mut().filter(|flush| flush.begun && flush.outcome == Outcome::None) {
            flush.owner = 1 - flush.owner;
        }
        other.min(*self)
    }

    /// Takes what makes no difference out, so that states which differ by it alone are one.
    pub fn tidy(&mut self) {
        for w in 0..WRITERS {
            self.forget_idle_epoch(w);
        }
        for f in 0..FLUSHES_MAX {
            if self.flushes[f].begun {
                self.forget_flush(f);
            }
        }
    }

    /// A writer whose epoch holds nothing may as well be in a new one.
    fn forget_idle_epoch(&mut self, w: usize) {
        let writer = &self.writers[w];
        let holds = self.messages.contains(&Message::Held { by: w });
        let idle = writer.messages.iter().all(|local| matches!(local, Local::Absent | Local::Done));
        if idle && !holds && writer.ack == 0 && writer.phase == Phase::Idle && writer.look_up == LookUp::None {
            self.writers[w] = Writer::default();
        }
    }

    /// Gives the place of a flush free that nothing is left of.
    fn forget_flush(&mut self, f: usize) {
        let flush = &mut self.flushes[f];
        if flush.outcome != Outcome::None {
            // Whose it is matters to those who wait for its outcome.
            (flush.owner, flush.owned) = (0, false);
        }
        if flush.outcome == Outcome::Committed {
            // Its objects are never deleted: to create them again does nothing.
            flush.stray &= !flush.objects;
        }
        let watched = self.writers.iter().any(|writer| match writer.look_up {
            LookUp::Listed(set) | LookUp::Waiting(set) => has(set, f),
            LookUp::None | LookUp::Believed => false,
        });
        if watched || !self.is_quiet(f) || self.flushes[f].intent {
            return;
        }
        if self.flushes[f].outcome != Outcome::Committed && self.flushes[f].objects == 0 {
            self.flushes[f] = Flush::default();
        }
    }
}
