//! The program killed at each point of the commit protocol, by name: the real binary, a real RabbitMQ, and an S3 API that
//! stops the program right there. Whoever comes after it must leave each event in exactly one place, once.

use std::collections::BTreeMap;
use std::time::Duration;

use lapin::types::AMQPValue;
use parqueduct::event::{Message, Properties};

use crate::harness::program::{Program, wait_for};
use crate::harness::proxy::Proxy;
use crate::harness::rabbit::Rabbit;
use crate::harness::s3::{Call, Fault, Rule, S3Server};
use crate::harness::setting::{Options, Setting};
use crate::harness::{archive, now, orders};

const MINUTE: Duration = Duration::from_secs(60);

/// Events of a batch, which is a flush of two data objects and one of dead letters.
const GOOD: usize = 40;
const BAD: usize = 20;
const BATCH: u64 = (GOOD + BAD) as u64;

/// Where the program is killed.
struct Point {
    /// What the store does when the program comes there; from the second batch on where `batches` is 2.
    stop: fn() -> Option<Rule>,
    /// Acks are written and lost.
    acks_lost: bool,
    batches: usize,
    /// Whether the program stands there.
    reached: fn(&Scene) -> bool,
    /// Deliveries that the broker must give out again.
    again: u64,
}

impl Point {
    /// In the middle of the first flush, nothing of which is acked.
    const IN_A_FLUSH: Self = Self { stop: || None, acks_lost: false, batches: 1, reached: |_| false, again: BATCH };
}

/// A request that never takes effect.
fn before(call: Call, path: &str) -> Option<Rule> {
    Some(Rule::each(1.0, call, Fault::NoAnswer).on_path(path))
}

/// A request that takes effect, which the program is never told.
fn after(call: Call, path: &str) -> Option<Rule> {
    Some(Rule::each(1.0, call, Fault::AnswerNever).on_path(path))
}

const INTENT: &str = ".intent.json";
const OUTCOME: &str = ".outcome.json";
const DATA: &str = "/data/";
const LETTERS: &str = "/dlq/";

const BEFORE_THE_INTENT: Point = Point {
    stop: || before(Call::Put, INTENT),
    reached: |scene| scene.held() == 1 && scene.objects(INTENT) == 0,
    ..Point::IN_A_FLUSH
};
const AFTER_THE_INTENT: Point = Point {
    stop: || after(Call::Put, INTENT),
    reached: |scene| scene.unanswered() == 1 && scene.objects(INTENT) == 1,
    ..Point::IN_A_FLUSH
};
const BEFORE_THE_DATA_OBJECTS: Point = Point {
    stop: || before(Call::Put, DATA),
    reached: |scene| scene.held() == 2 && scene.objects(DATA) == 0,
    ..Point::IN_A_FLUSH
};
const BETWEEN_THE_DATA_OBJECTS: Point = Point {
    stop: || Some(Rule::nth(2, Call::Put, Fault::NoAnswer).on_path(DATA)),
    reached: |scene| scene.held() == 1 && scene.objects(DATA) == 1,
    ..Point::IN_A_FLUSH
};
const AFTER_THE_DATA_OBJECTS_BEFORE_THE_DEAD_LETTERS: Point = Point {
    stop: || before(Call::Put, LETTERS),
    reached: |scene| scene.held() == 1 && scene.objects(DATA) == 2,
    ..Point::IN_A_FLUSH
};
const AFTER_THE_DEAD_LETTERS_BEFORE_THE_DATA_OBJECTS: Point = Point {
    stop: || before(Call::Put, DATA),
    reached: |scene| scene.held() == 2 && scene.objects(LETTERS) == 1,
    ..Point::IN_A_FLUSH
};
const BEFORE_THE_OUTCOME: Point = Point {
    stop: || before(Call::Put, OUTCOME),
    reached: |scene| scene.held() == 1 && scene.objects(DATA) == 2 && scene.objects(LETTERS) == 1,
    ..Point::IN_A_FLUSH
};
const AFTER_THE_OUTCOME_BEFORE_THE_ACK: Point = Point {
    stop: || after(Call::Put, OUTCOME),
    reached: |scene| scene.unanswered() == 1 && scene.objects(OUTCOME) == 1 && scene.line.acks_carried() == 0,
    ..Point::IN_A_FLUSH
};
const AFTER_AN_ACK_THAT_IS_LOST: Point =
    Point { acks_lost: true, reached: |scene| scene.line.acks_swallowed() == 1, ..Point::IN_A_FLUSH };
const AFTER_THE_ACK_BEFORE_THE_INTENT_IS_DELETED: Point = Point {
    reached: |scene| scene.line.acks_carried() == 1 && scene.messages() == 0 && scene.objects(INTENT) == 1,
    again: 0,
    ..Point::IN_A_FLUSH
};
// An intent is deleted when the next flush is durable, which is acked after that. Nothing else is deleted before.
const BEFORE_THE_DELETION_OF_THE_INTENT: Point = Point {
    stop: || Some(Rule::next(1, Call::Delete, Fault::NoAnswer)),
    batches: 2,
    reached: |scene| scene.held() == 1 && scene.objects(INTENT) == 2 && scene.objects(OUTCOME) == 2,
    ..Point::IN_A_FLUSH
};
const AFTER_THE_DELETION_OF_THE_INTENT: Point = Point {
    stop: || Some(Rule::next(1, Call::Delete, Fault::AnswerNever)),
    batches: 2,
    reached: |scene| scene.unanswered() == 1 && scene.objects(INTENT) == 1 && scene.objects(OUTCOME) == 2,
    ..Point::IN_A_FLUSH
};

macro_rules! points {
    ($($name:ident => $point:ident),* $(,)?) => {
        /// The same instance is started again.
        mod restarted {
            $(#[test]
            fn $name() {
                super::crash(&super::$point, super::Successor::Restarted);
            })*
        }

        /// Another instance, which runs already, gets the deliveries.
        mod taken_over {
            $(#[test]
            fn $name() {
                super::crash(&super::$point, super::Successor::Other);
            })*
        }
    };
}

points! {
    before_the_intent => BEFORE_THE_INTENT,
    after_the_intent => AFTER_THE_INTENT,
    before_the_data_objects => BEFORE_THE_DATA_OBJECTS,
    between_the_data_objects => BETWEEN_THE_DATA_OBJECTS,
    after_the_data_objects_before_the_dead_letters => AFTER_THE_DATA_OBJECTS_BEFORE_THE_DEAD_LETTERS,
    after_the_dead_letters_before_the_data_objects => AFTER_THE_DEAD_LETTERS_BEFORE_THE_DATA_OBJECTS,
    before_the_outcome => BEFORE_THE_OUTCOME,
    after_the_outcome_before_the_ack => AFTER_THE_OUTCOME_BEFORE_THE_ACK,
    after_an_ack_that_is_lost => AFTER_AN_ACK_THAT_IS_LOST,
    after_the_ack_before_the_intent_is_deleted => AFTER_THE_ACK_BEFORE_THE_INTENT_IS_DELETED,
    before_the_deletion_of_the_intent => BEFORE_THE_DELETION_OF_THE_INTENT,
    after_the_deletion_of_the_intent => AFTER_THE_DELETION_OF_THE_INTENT,
}

/// Who gets what the killed program held.
#[derive(PartialEq)]
enum Successor {
    Restarted,
    Other,
}

struct Scene {
    rabbit: Rabbit,
    server: S3Server,
    line: Proxy,
    setting: Setting,
}

impl Scene {
    fn new(successor: &Successor) -> Self {
        let (rabbit, server) = (now(Rabbit::shared()), S3Server::start());
        let line = now(Proxy::to(rabbit.port()));
        let uri = line.uri(rabbit.uri(), rabbit.port());
        // No request is given up before the kill.
        let mut options = Options::orders(&uri).on_within(&server, "60s");
        (options.pipeline, options.more) = ("", "[run]\ninstance = \"first\"\n");
        let setting = Setting::new(&options);
        let kind = if *successor == Successor::Other { "quorum" } else { "classic" };
        now(rabbit.declare(&setting.queue, &[("x-queue-type", AMQPValue::LongString(kind.into()))]));
        Self { rabbit, server, line, setting }
    }

    fn publish(&self, batch: usize) {
        // Every third good order is of a third day.
        let good = (0..).filter(|n| n % 3 != 2).skip(batch * GOOD).take(GOOD);
        let good = good.map(|n| (format!("good-{n}"), orders::good(n)));
        let bad = (batch * BAD..(batch + 1) * BAD).map(|n| (format!("bad-{n}"), orders::bad(n).body));
        let message = |(name, body)| {
            let properties = Properties { message_id: Some(name), ..Properties::default() };
            Message { body, properties: properties.into(), ..Message::default() }
        };
        now(self.rabbit.publish(&self.setting.queue, &good.chain(bad).map(message).collect::<Vec<_>>()));
    }

    /// Requests stopped before their effect.
    fn held(&self) -> usize {
        self.server.happened(Fault::NoAnswer)
    }

    /// Requests stopped after their effect.
    fn unanswered(&self) -> usize {
        self.server.happened(Fault::AnswerNever)
    }

    fn objects(&self, part: &str) -> usize {
        self.server.keys().iter().filter(|key| key.contains(part)).count()
    }

    fn messages(&self) -> u64 {
        now(self.rabbit.messages(&self.setting.queue))
    }
}

fn crash(point: &Point, successor: Successor) {
    let scene = Scene::new(&successor);
    let (server, setting) = (&scene.server, &scene.setting);
    scene.publish(0);
    let earlier = (point.batches == 2).then(|| {
        let program = Program::start(&setting.config);
        program.wait_until_settled(BATCH, MINUTE);
        program
    });
    if let Some(rule) = (point.stop)() {
        server.inject(rule);
    }
    if point.acks_lost {
        scene.line.swallow_acks();
    }
    let program = match earlier {
        Some(program) => {
            scene.publish(1);
            program
        }
        None => Program::start(&setting.config),
    };
    wait_for("the point", MINUTE, || (point.reached)(&scene).then_some(()));

    let standby = (successor == Successor::Other).then(|| {
        let program = Program::start(&setting.variant("second", &[("\"first\"", "\"second\"")]));
        wait_for("the queue", MINUTE, || (program.get("/readyz").0 == 200).then_some(()));
        program
    });
    // The killed one does nothing more, and yet its deliveries are not handed out before the faults are gone: the standby,
    // quick as it is, would meet them.
    program.signal("STOP");
    server.heal();
    scene.line.open();
    program.kill();
    let heir = standby.unwrap_or_else(|| Program::start(&setting.config));
    heir.wait_until_settled(point.again, MINUTE);
    let (status, log) = heir.terminate(MINUTE);
    assert!(status.success(), "{log}");
    assert_eq!(scene.messages(), 0, "the queue is empty");
    assert_exact(&scene, point.batches);
}

/// Every event is in its place once, and nothing else lies there.
fn assert_exact(scene: &Scene, batches: usize) {
    scene.server.dump("archive/", scene.setting.directory.path());
    let store = scene.setting.directory.path().join("archive");
    assert_eq!(archive::strays(&store), Vec::<String>::new());

    let mut letters = BTreeMap::<String, usize>::new();
    for letter in scene.setting.dead_letters() {
        *letters.entry(letter["message_id"].as_str().expect("a name").to_owned()).or_default() += 1;
    }
    let rows = archive::event_ids(&store);
    let good = (0..).filter(|n| n % 3 != 2).take(batches * GOOD).map(|n| format!("order-{n}"));
    let bad = (0..batches * BAD).map(|n| format!("bad-{n}"));
    let missing: Vec<_> =
        good.filter(|name| !rows.contains_key(name)).chain(bad.filter(|name| !letters.contains_key(name))).collect();
    let repeated: Vec<_> = rows.iter().chain(&letters).filter(|(_, times)| **times > 1).collect();
    assert_eq!((missing.len(), repeated.len()), (0, 0), "missing {missing:?}, repeated {repeated:?}");
    assert_eq!((rows.len(), letters.len()), (batches * GOOD, batches * BAD), "and nothing is there that was not sent");
}
