//! Dead letters given back over HTTP: planned, tried, carried out, halted, paused, and gone on with after a stop.

use std::time::Duration;

use serde_json::{Value, json};

use super::place::{Place, token};
use crate::harness::program::{Program, wait_for};

const LIMIT: Duration = Duration::from_secs(30);

impl Place {
    #[track_caller]
    fn post(&self, path: &str, body: Value, status: u16) -> Value {
        let answer = self.send("POST", &format!("/api/v1{path}"), Some(&token("operator")), Some(&body));
        assert_eq!(answer.status, status, "POST {path}: {answer:?}");
        serde_json::from_str(&answer.body).expect("JSON")
    }

    #[track_caller]
    fn see(&self, path: &str) -> Value {
        let answer = self.get(&format!("/api/v1{path}"), Some(&token("operator")));
        assert_eq!(answer.status, 200, "GET {path}: {answer:?}");
        serde_json::from_str(&answer.body).expect("JSON")
    }

    /// The group whose issue is at that path.
    fn group_at(&self, code: &str, path: &str) -> String {
        let groups = self.see("/groups");
        let is = |group: &&Value| group["code"] == code && group["path"] == path;
        let group = groups["items"].as_array().expect("a list").iter().find(is);
        group.unwrap_or_else(|| panic!("{code} {path}: {groups}"))["group"].as_str().expect("an id").to_owned()
    }

    /// The job once it has that status.
    fn job_when(&self, job: &str, status: &str) -> Value {
        let path = format!("/jobs/{job}");
        wait_for(&format!("job {job} is {status}"), LIMIT, || {
            Some(self.see(&path)).filter(|job| job["status"] == status)
        })
    }

    /// Plans to give back every letter as it is, all at once: they fail again.
    fn plan_all(&self) -> String {
        let plan = self.post("/plans", json!({"pipeline": "orders", "reason": "once more", "canary": false}), 201);
        plan["plan"].as_str().expect("a hash").to_owned()
    }
}

fn id(started: &Value) -> String {
    started["job"]["job"].as_str().expect("a job").to_owned()
}

#[test]
fn letters_are_mended_tried_and_given_back_over_http() {
    let place = Place::new();
    let group = place.group_at("validate.type", "/amount");
    let fix = "[[step]]\ncast = { path = \"/amount\", to = \"number\" }\n";
    let asked = json!({"pipeline": "orders", "reason": "amounts were texts", "letters": {"group": group}, "fix": fix});
    let plan = place.post("/plans", asked, 201);
    assert_eq!((&plan["letters"], &plan["known"]), (&json!(1), &json!(false)), "{plan}");
    let hash = plan["plan"].as_str().expect("a hash");
    assert_eq!(place.see(&format!("/plans/{}", &hash[..12]))["steps"], plan["steps"]);

    let run = place.post(&format!("/plans/{hash}/dry-runs"), json!({"good": 0}), 202);
    let path = format!("/dry-runs/{}", run["id"].as_str().expect("an id"));
    let run = wait_for("the dry run is over", LIMIT, || Some(place.see(&path)).filter(|run| run["state"] != "running"));
    assert_eq!((&run["state"], &run["report"]["pass"], &run["report"]["fail"]), (&json!("done"), &json!(1), &json!(0)));

    let started = place.post(&format!("/plans/{hash}/replays"), json!({"reason": "tried"}), 202);
    let job = place.job_when(&id(&started), "finished");
    assert_eq!(
        (&job["counts"]["recovered"], &job["by"], &job["reason"]),
        (&json!(1), &json!("operator"), &json!("tried"))
    );
    assert_eq!(place.see(&format!("/groups/{group}"))["state"], "resolved");
    assert_eq!(place.see("/letters?state=recovered")["items"].as_array().expect("a list").len(), 1);
    let again = place.post(&format!("/plans/{hash}/replays"), json!({"reason": "tried"}), 200);
    assert_eq!((&again["job"], &again["recovered_already"]), (&Value::Null, &json!(1)));

    // What was given back can be given back as it was, by an admin.
    let revert = format!("/jobs/{}/revert", id(&started));
    place.post(&revert, json!({"reason": "the fix was wrong"}), 403);
    let answer =
        place.send("POST", &format!("/api/v1{revert}"), Some(&token("admin")), Some(&json!({"reason": "wrong"})));
    assert_eq!(answer.status, 201, "{answer:?}");
    // There is no way into the past: what cannot be is said, not done.
    place.post("/plans", json!({"pipeline": "orders", "reason": "x", "letters": {"group": group}}), 409);
    place.post("/plans", json!({"pipeline": "nobody", "reason": "x"}), 400);
    place.post("/plans", json!({"pipeline": "orders", "reason": "x", "fix": "[[step]]\ncast = 1"}), 400);
    place.post("/plans/abcdef/replays", json!({"reason": "x"}), 404);
}

#[test]
fn a_job_that_fails_halts_and_one_that_is_slow_is_paused_resumed_and_cancelled() {
    let place = Place::new();
    let canary = place.post("/plans", json!({"pipeline": "orders", "reason": "once more"}), 201);
    let halted = place.post(
        &format!("/plans/{}/replays", canary["plan"].as_str().expect("a hash")),
        json!({"reason": "x"}),
        202,
    );
    let halted = place.job_when(&id(&halted), "halted");
    assert!(halted["why"].as_str().is_some_and(|why| why.contains("failed")), "{halted}");
    let plan = place.plan_all();
    let slow = json!({"reason": "slowly", "letters_per_second": 1});
    // One that is not over is in the way.
    let busy = place.post(&format!("/plans/{plan}/replays"), slow.clone(), 409);
    assert!(busy["detail"].as_str().expect("a text").contains(halted["job"].as_str().expect("an id")), "{busy}");
    place.post(&format!("/jobs/{}/cancel", halted["job"].as_str().expect("an id")), json!({"reason": "no use"}), 200);

    let job = id(&place.post(&format!("/plans/{plan}/replays"), slow.clone(), 202));
    let act = |what: &str| format!("/jobs/{job}/{what}");
    assert_eq!(place.post(&act("pause"), json!({"reason": "wait"}), 200)["status"], "paused");
    place.post(&act("pause"), json!({"reason": "wait"}), 409);
    assert_eq!(place.post(&act("resume"), slow.clone(), 202)["status"], "running");
    place.post(&act("resume"), slow, 409);
    assert_eq!(place.post(&act("cancel"), json!({"reason": "enough"}), 200)["status"], "cancelled");
    place.post(&act("resume"), json!({"reason": "x"}), 409);
    let jobs = place.see("/jobs?limit=1");
    assert_eq!(jobs["items"][0]["job"], json!(job), "{jobs}");
}

#[test]
fn a_stop_leaves_a_job_that_another_process_goes_on_with() {
    let mut place = Place::new();
    let plan = place.plan_all();
    let letters = place.see(&format!("/plans/{plan}"))["letters"].clone();
    let slow = json!({"reason": "slowly", "letters_per_second": 2});
    let job = id(&place.post(&format!("/plans/{plan}/replays"), slow, 202));
    std::thread::sleep(Duration::from_secs(2));
    let next = place.setting.config.clone();
    let stopped = std::mem::replace(&mut place.program, Program::start_ready(&next));
    let (status, log) = stopped.terminate(Duration::from_secs(20));
    assert!(status.success() && log.contains("it can be resumed"), "{status}\n{log}");
    let left = place.see(&format!("/jobs/{job}"));
    assert_eq!((&left["status"], &left["process"]), (&json!("running"), &json!("gone")), "{left}");
    assert!(left["done"].as_u64() < letters.as_u64(), "{left}");
    place.post(&format!("/jobs/{job}/resume"), json!({"reason": "it was stopped"}), 202);
    let over = place.job_when(&job, "finished");
    assert_eq!((&over["done"], &over["counts"]["failed"]), (&letters, &letters), "{over}");
}

#[test]
fn no_more_tasks_run_than_may() {
    let place = Place::with(&format!(
        "tasks_max = 1\n[[http.token]]\nname = \"ops\"\nrole = \"operator\"\ntoken = \"{}\"\n",
        token("operator")
    ));
    let plan = place.plan_all();
    let slow = json!({"reason": "slowly", "letters_per_second": 1});
    let job = id(&place.post(&format!("/plans/{plan}/replays"), slow, 202));
    // One that rests keeps its place, and goes on in it.
    place.post(&format!("/jobs/{job}/pause"), json!({"reason": "wait"}), 200);
    place.post(&format!("/jobs/{job}/resume"), json!({"reason": "go on"}), 202);
    let many = place.post(&format!("/plans/{plan}/dry-runs"), json!({}), 429);
    assert!(many["detail"].as_str().expect("a text").contains("http.tasks_max"), "{many}");
    place.post(&format!("/jobs/{job}/cancel"), json!({"reason": "enough"}), 200);
    wait_for("there is room again", LIMIT, || {
        let body = json!({"good": 0});
        let path = format!("/api/v1/plans/{plan}/dry-runs");
        let answer = place.send("POST", &path, Some(&token("operator")), Some(&body));
        (answer.status == 202).then_some(())
    });
}
