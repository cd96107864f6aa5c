//! The real binary while its credentials change under it: no token ends a flow, and no password costs a restart.

use std::time::{Duration, Instant};

use crate::harness::program::{Program, wait_for};
use crate::harness::rabbit::Rabbit;
use crate::harness::setting::{Options, Setting};
use crate::harness::tokens::{self, CLIENT_ID, CLIENT_SECRET, TokenEndpoint};
use crate::harness::{archive, now, orders};

const MINUTE: Duration = Duration::from_secs(60);

fn publish(rabbit: &Rabbit, setting: &Setting, orders: std::ops::Range<usize>) {
    let message = |n| parqueduct::event::Message { body: orders::good(n), ..Default::default() };
    let messages: Vec<_> = orders.map(message).collect();
    now(rabbit.publish(&setting.queue, &messages));
}

/// Puts `lines` into the table `[rabbitmq]` of the setting's configuration, in place of its URI.
fn log_in(setting: &Setting, rabbit: &Rabbit, lines: &str) {
    let text = std::fs::read_to_string(&setting.config).expect("readable");
    let uri = format!("uri = \"{}\"", rabbit.uri());
    assert!(text.contains(&uri), "{text}");
    let own = format!("uri = \"amqp://127.0.0.1:{}/%2f\"\n{lines}", rabbit.port());
    std::fs::write(&setting.config, text.replace(&uri, &own)).expect("writable");
}

fn lines<'a>(log: &'a str, words: &str) -> Vec<&'a str> {
    log.lines().filter(|line| line.contains(words)).collect()
}

#[test]
fn a_flow_goes_on_over_many_lives_of_its_token_without_a_reconnect() {
    let life = Duration::from_secs(8);
    let rabbit = now(tokens::node());
    let endpoint = now(TokenEndpoint::start(life));
    let mut options = Options::orders(rabbit.uri());
    options.more = "[log]\nlevel = \"info,lapin=off,parqueduct::broker=debug\"\n";
    let setting = Setting::new(&options);
    let oauth2 = format!(
        "oauth2 = {{ token_url = \"{}\", client_id = \"{CLIENT_ID}\", client_secret = \"{CLIENT_SECRET}\", \
         scope = \"rabbitmq\", allow_http = true }}",
        endpoint.url()
    );
    log_in(&setting, &rabbit, &oauth2);
    let program = Program::start(&setting.config);
    wait_for("the queue", MINUTE, || (program.get("/readyz").0 == 200).then_some(()));
    let mut published = 0;
    let mut flow = |program: &Program| {
        publish(&rabbit, &setting, published..published + 100);
        published += 100;
        program.wait_until_settled(published as u64, MINUTE);
        published
    };
    let renewed = |program: &Program| lines(&program.log(), "an open connection has a new token").len();
    let start = Instant::now();
    while start.elapsed() < life * 3 {
        flow(&program);
    }
    assert!(renewed(&program) >= 3, "renewed {} times in three lives", renewed(&program));

    // The endpoint may be away for a part of the token's life.
    let before = endpoint.failed();
    endpoint.out_of_order(true);
    wait_for("a failure to renew", MINUTE, || {
        (!lines(&program.log(), "the token could not be renewed").is_empty()).then_some(())
    });
    endpoint.out_of_order(false);
    let renewed_before = renewed(&program);
    wait_for("a new token all the same", MINUTE, || (renewed(&program) > renewed_before).then_some(()));
    let all = flow(&program);
    let failed = endpoint.failed() - before;
    assert!((1..=4).contains(&failed), "{failed} requests within the rest of a life: it does not spin");

    assert_eq!(program.metric("parqueduct_broker_reconnects_total"), 0.0);
    assert_eq!(program.errors(), Vec::<String>::new());
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success(), "{log}");
    assert!(lines(&log, " WARN ").iter().all(|line| line.contains("the token could not be renewed")), "{log}");
    let ids = archive::event_ids(&setting.store());
    assert!(ids.len() == all && ids.values().all(|&times| times == 1), "{} of {all}", ids.len());
}

#[test]
fn a_password_rotated_in_its_file_works_after_the_connection_was_cut() {
    let rabbit = now(Rabbit::own(&[]));
    let mut options = Options::orders(rabbit.uri());
    options.pipeline = "";
    let setting = Setting::new(&options);
    now(rabbit.declare(&setting.queue, &[]));
    let (user, password) = now(rabbit.user("rotating", ["", "", &format!("^{}$", setting.queue)]));
    let file = setting.directory.path().join("password");
    std::fs::write(&file, &password).expect("written");
    log_in(&setting, &rabbit, &format!("username = \"{user}\"\npassword = {{ file = \"password\" }}"));
    let program = Program::start(&setting.config);
    wait_for("the queue", MINUTE, || (program.get("/readyz").0 == 200).then_some(()));
    publish(&rabbit, &setting, 0..100);
    program.wait_until_settled(100, MINUTE);

    now(rabbit.ctl(&["change_password", &user, "rotated"]));
    now(rabbit.ctl(&["close_all_connections", "password changed"]));
    wait_for("the refusal of the old password", MINUTE, || {
        (!lines(&program.log(), "check user and password").is_empty()).then_some(())
    });
    std::fs::write(&file, "rotated\n").expect("written");
    publish(&rabbit, &setting, 100..200);
    program.wait_until_settled(200, MINUTE);
    assert!(program.metric("parqueduct_broker_reconnects_total") >= 1.0);
    let (status, log) = program.terminate(MINUTE);
    assert!(status.success() && !log.contains("rotated"), "{log}");
    assert_eq!(archive::event_ids(&setting.store()).len(), 200);
}
