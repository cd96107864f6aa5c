//! The broker: one conformance suite on the real one and on its twin, and what only the real one can show.

mod conformance;
mod credentials;
mod publishing;
mod real;

use std::time::Duration;

use async_trait::async_trait;
use parqueduct::broker::memory::Memory;
use parqueduct::broker::{Broker, Rabbit};
use parqueduct::event::{Message, Properties, Unreadable};

use crate::harness::proxy::Proxy;
use crate::harness::rabbit::{self, unique};
use crate::harness::wire::{self, Raw};
use conformance::Fixture;

/// Runs a test within its time limit. A private node takes seconds to start, much longer on a busy machine.
async fn within<T>(seconds: u64, test: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(seconds);
    tokio::time::timeout(limit, test).await.unwrap_or_else(|_| panic!("not done within {limit:?}"))
}

struct InMemory(Memory);

#[async_trait]
impl Fixture for InMemory {
    fn broker(&self) -> &dyn Broker {
        &self.0
    }

    async fn queue(&self) -> String {
        let queue = unique("events");
        self.0.declare(&queue);
        queue
    }

    async fn publish(&self, queue: &str, messages: &[Message]) {
        for message in messages {
            assert!(self.0.publish(queue, Message { routing_key: queue.to_owned(), ..message.clone() }));
        }
    }

    async fn publish_with_id(&self, queue: &str, id: &[u8]) {
        let unreadable = match str::from_utf8(id) {
            Ok(_) => Vec::new(),
            Err(_) => vec![Unreadable::new("message_id", id)],
        };
        let message_id = Some(String::from_utf8_lossy(id).replace(char::REPLACEMENT_CHARACTER, "?"));
        let properties = Properties { message_id, ..Properties::default() };
        self.publish(
            queue,
            &[Message { body: b"{}".to_vec(), properties: properties.into(), unreadable, ..Message::default() }],
        )
        .await;
    }

    async fn ready(&self, queue: &str) -> usize {
        self.0.ready(queue).len()
    }

    async fn cut(&self, queue: &str) {
        self.0.cut(queue);
    }

    async fn delete(&self, queue: &str) {
        self.0.delete(queue);
    }
}

/// The shared node, reached over a line that can be cut.
struct Real {
    node: rabbit::Rabbit,
    line: Proxy,
    broker: Rabbit,
}

impl Real {
    async fn new() -> Self {
        let node = rabbit::Rabbit::shared().await;
        let line = Proxy::to(node.port()).await;
        let config = rabbit::config(&[&line.uri(node.uri(), node.port())]);
        let broker = Rabbit::new(&config, rabbit::surroundings()).expect("a valid configuration");
        Self { node, line, broker }
    }
}

#[async_trait]
impl Fixture for Real {
    fn broker(&self) -> &dyn Broker {
        &self.broker
    }

    async fn queue(&self) -> String {
        self.node.queue("conformance").await
    }

    async fn publish(&self, queue: &str, messages: &[Message]) {
        self.node.publish(queue, messages).await;
    }

    async fn publish_with_id(&self, queue: &str, id: &[u8]) {
        let properties = wire::properties(wire::MESSAGE_ID, &[wire::short(id)]);
        let routing_key = queue.as_bytes().to_vec();
        let message = Raw { exchange: Vec::new(), routing_key, properties, body: b"{}".to_vec() };
        wire::publish(self.node.port(), &[message]).await;
    }

    async fn ready(&self, queue: &str) -> usize {
        self.node.ready(queue).await as usize
    }

    async fn cut(&self, _: &str) {
        self.line.cut().await;
    }

    async fn delete(&self, queue: &str) {
        self.node.delete(queue).await;
    }
}

macro_rules! conformance {
    ($($promise:ident),* $(,)?) => {
        mod in_memory {
            $(#[tokio::test]
            async fn $promise() {
                let fixture = super::InMemory(super::Memory::new(chrono::Utc::now));
                super::within(20, super::conformance::$promise(&fixture)).await;
            })*
        }

        mod on_rabbitmq {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                super::within(180, async {
                    let fixture = super::Real::new().await;
                    super::within(30, super::conformance::$promise(&fixture)).await;
                }).await;
            })*
        }
    };
}

conformance!(
    batches_keep_the_order_and_tags_count_from_one,
    a_waiting_intake_gets_what_comes_later,
    a_dropped_call_loses_no_delivery,
    a_cumulative_ack_removes_all_up_to_its_tag,
    an_ack_may_be_repeated,
    unacked_deliveries_come_back_in_order_and_flagged,
    prefetch_bounds_what_is_unacked,
    a_deleted_queue_ends_the_intake_and_settling_does_no_harm,
    a_cut_connection_ends_both_halves,
    a_wider_window_goes_on_where_the_narrow_one_was,
    a_window_is_widened_while_deliveries_wait,
    a_channel_proves_that_it_stands_until_it_is_gone,
    an_ack_on_a_dead_channel_settles_nothing_on_the_next,
    after_a_cancel_what_was_handed_out_can_be_settled,
    what_is_requeued_is_there_at_once_and_in_order,
    requeueing_nothing_does_no_harm,
    a_missing_queue_is_refused_and_named,
    properties_and_headers_of_every_type_arrive_as_sent,
    what_cannot_be_read_is_handed_out_with_what_it_was,
    a_glance_shows_the_head_of_a_queue_and_leaves_all_in_its_place,
    a_glance_ends_with_the_queue_or_its_bytes,
    a_glance_at_a_missing_queue_is_refused_and_names_it,
);
