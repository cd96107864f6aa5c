//! From configuration and environment to an S3 store that works, or a refusal that says why.

use std::error::Error;
use std::fs;

use bytes::Bytes;
use parqueduct::config::{self, S3, S3Encryption, Secret, StorePlace};
use parqueduct::store::{Kind, Store, StoreError, unobserved};
use tempfile::TempDir;

use super::open;
use crate::harness::s3::{ACCESS_KEY, S3Server, SECRET_KEY};

fn change(mut config: config::Store, change: impl FnOnce(&mut S3)) -> config::Store {
    if let StorePlace::S3(s3) = &mut config.place {
        change(s3);
    }
    config
}

fn without_keys(server: &S3Server) -> config::Store {
    change(server.config(""), |s3| (s3.access_key_id, s3.secret_access_key) = (None, None))
}

async fn takes_writes(store: &Store) {
    store.create("data/x", Bytes::from_static(b"x")).await.unwrap();
}

fn refusal(config: &config::Store, env: &dyn Fn(&str) -> Option<String>) -> String {
    match Store::open(config, env, unobserved()).err().unwrap() {
        StoreError::Refused { source, .. } => source.to_string(),
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn keys_come_from_the_environment() {
    let server = S3Server::start();
    let env = |name: &str| match name {
        "AWS_ACCESS_KEY_ID" => Some(ACCESS_KEY.to_owned()),
        "AWS_SECRET_ACCESS_KEY" => Some(SECRET_KEY.to_owned()),
        _ => None,
    };
    takes_writes(&Store::open(&without_keys(&server), &env, unobserved()).unwrap()).await;
}

#[tokio::test]
async fn keys_and_endpoint_come_from_a_profile() {
    let server = S3Server::start();
    let home = TempDir::new().unwrap();
    fs::create_dir(home.path().join(".aws")).unwrap();
    let credentials = format!("[lake]\naws_access_key_id={ACCESS_KEY}\naws_secret_access_key={SECRET_KEY}\n");
    fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
    let profile = format!("[profile lake]\nendpoint_url = {}\n[profile sso]\nsso_session = x\n", server.endpoint());
    fs::write(home.path().join(".aws/config"), profile).unwrap();
    let env = |name: &str| (name == "HOME").then(|| home.path().to_str().unwrap().to_owned());
    let named = |name: &str| change(without_keys(&server), |s3| (s3.profile, s3.endpoint) = (Some(name.into()), None));
    takes_writes(&Store::open(&named("lake"), &env, unobserved()).unwrap()).await;
    assert!(refusal(&named("sso"), &env).contains("sso_session, which is not supported"));
    assert!(refusal(&named("none"), &env).contains("no AWS profile none"));
}

#[tokio::test]
async fn wrong_keys_and_a_missing_bucket_are_refused_at_the_first_request() {
    let server = S3Server::start();
    let wrong = open(&change(server.config(""), |s3| s3.secret_access_key = Some(Secret::new("wrong"))));
    let error = wrong.probe("n").await.unwrap_err();
    assert!(matches!(error, StoreError::Refused { kind: Kind::Auth, .. }), "{error:?}");
    let nowhere = open(&change(server.config(""), |s3| s3.bucket = "nowhere".into()));
    for error in [nowhere.probe("n").await.unwrap_err(), nowhere.get("data/x").await.unwrap_err()] {
        assert!(matches!(error, StoreError::Refused { kind: Kind::NotFound, .. }), "{error:?}");
        assert!(error.source().unwrap().to_string().contains("NoSuchBucket"), "{error:?}");
    }
}

#[tokio::test]
async fn objects_are_encrypted_as_configured() {
    let server = S3Server::start();
    let kms = |bucket_key| S3Encryption::Kms { key: Some("arn:k".into()), bucket_key };
    let cases = [
        (S3Encryption::Default, None),
        (S3Encryption::S3, Some("AES256//false")),
        (kms(true), Some("aws:kms/arn:k/true")),
        (kms(false), Some("aws:kms/arn:k/false")),
        (S3Encryption::Kms { key: None, bucket_key: true }, Some("aws:kms//true")),
    ];
    for (n, (encryption, expected)) in cases.into_iter().enumerate() {
        let store = open(&change(server.config(""), |s3| s3.encryption = encryption));
        store.create(&format!("data/{n}"), Bytes::from_static(b"x")).await.unwrap();
        assert_eq!(server.encryption(&format!("data/{n}")).as_deref(), expected);
    }
}

#[test]
fn what_cannot_work_is_refused_when_opened_and_says_the_mend() {
    let server = S3Server::start();
    let plain = config::Store { allow_http: false, ..server.config("") };
    assert!(refusal(&plain, &|_| None).contains("set store.allow_http = true"));
    let no_scheme = change(server.config(""), |s3| s3.endpoint = Some("localhost:9000".into()));
    assert!(refusal(&no_scheme, &|_| None).contains("must begin with https://"));
    let no_ca = config::Store { ca: Some("/nowhere/ca.pem".into()), ..server.config("") };
    assert!(refusal(&no_ca, &|_| None).contains("cannot read /nowhere/ca.pem"));
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("ca.pem"), "no certificate").unwrap();
    let bad_ca = config::Store { ca: Some(directory.path().join("ca.pem")), ..server.config("") };
    assert!(refusal(&bad_ca, &|_| None).contains("no PEM certificate"));
}

#[test]
fn gcs_and_azure_stores_open_with_their_options() {
    let base = S3Server::start().config("");
    let gcs = config::Gcs {
        bucket: "b".into(),
        prefix: "p".into(),
        endpoint: Some("http://127.0.0.1:1".into()),
        service_account: None,
    };
    let skip = |name: &str| (name == "GOOGLE_SKIP_SIGNATURE").then(|| "true".to_owned());
    let opened =
        Store::open(&config::Store { place: StorePlace::Gcs(gcs.clone()), ..base.clone() }, &skip, unobserved());
    assert_eq!(opened.unwrap().name(), "gs://b/p");
    let missing = config::Gcs { service_account: Some("/nowhere/key.json".into()), ..gcs };
    assert!(refusal(&config::Store { place: StorePlace::Gcs(missing), ..base.clone() }, &skip).contains("key.json"));
    let azure = config::Azure {
        account: Some("account".into()),
        container: "c".into(),
        prefix: String::new(),
        endpoint: None,
        access_key: Some(Secret::new("a2V5")),
        sas_token: None,
        emulator: false,
    };
    let emulator = config::Azure { account: None, access_key: None, emulator: true, ..azure.clone() };
    let sas = config::Azure { access_key: None, sas_token: Some(Secret::new("sv=1&sig=x")), ..azure.clone() };
    for azure in [azure, emulator, sas] {
        let config = config::Store { place: StorePlace::Azure(azure), ..base.clone() };
        assert_eq!(open(&config).name(), "az://c");
    }
}
