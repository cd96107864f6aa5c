//! From the checked configuration to a store: which client, which credentials, which limits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::{Certificate, ClientOptions, ObjectStore, RetryConfig};

use super::aws_profile::{self, Profile};
use super::classify;
use super::error::{Class, Fault, Kind, Observer, Op, StoreError};
use super::file::FileStore;
use super::object::Remote;
use super::retry::RetryLimits;
use super::{Backend, Store};
use crate::config::{Azure, Gcs, S3, S3Encryption, Secret, Store as StoreConfig, StorePlace};

/// Lends one variable of the environment.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The variables object_store understands under the names AWS' own tools use. Static keys are taken apart: they yield to
/// the configuration's.
const AWS_VARIABLES: [&str; 12] = [
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_ENDPOINT_URL_STS",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_METADATA_ENDPOINT",
    "AWS_IMDSV1_FALLBACK",
    "AWS_REQUEST_PAYER",
    "AWS_SKIP_SIGNATURE",
    "AWS_UNSIGNED_PAYLOAD",
];

const GOOGLE_VARIABLES: [&str; 7] = [
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_BEARER_TOKEN",
    "GOOGLE_BASE_URL",
    "GOOGLE_SKIP_SIGNATURE",
];

const AZURE_VARIABLES: [&str; 22] = [
    "AZURE_STORAGE_ACCOUNT_NAME",
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_TOKEN",
    "AZURE_STORAGE_ENDPOINT",
    "AZURE_STORAGE_USE_EMULATOR",
    "AZURE_STORAGE_CLIENT_ID",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_STORAGE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_CLIENT_SECRET",
    "AZURE_TENANT_ID",
    "AZURE_AUTHORITY_HOST",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_MSI_ENDPOINT",
    "AZURE_IDENTITY_ENDPOINT",
    "AZURE_OBJECT_ID",
    "AZURE_MSI_RESOURCE_ID",
    "AZURE_USE_AZURE_CLI",
    "AZURE_SKIP_SIGNATURE",
];

impl Store {
    /// Opens the store. Touches the disk, for certificates, keys and a `file://` root, and never the network: see
    /// [`Store::probe`]. `env` is asked for the usual credential variables of the store's kind, and for `HOME`.
    ///
    /// # Errors
    /// [`StoreError::Refused`] for what cannot work; [`StoreError::Unavailable`] for a disk that is full or away.
    pub fn open(config: &StoreConfig, env: Environment<'_>, observer: Observer) -> Result<Store, StoreError> {
        let name = name(&config.place);
        let backend = backend(config, env).map_err(|fault| {
            observer(super::Report::Failed { op: Op::Open, kind: fault.kind });
            match fault.class {
                Class::Later => fault.into_error(Op::Open, &name),
                _ => Fault { class: Class::Never, ..fault }.into_error(Op::Open, &name),
            }
        })?;
        let limits = RetryLimits { retries_max: config.retries_max, within: config.retry_timeout };
        Ok(Store { backend, limits, observer, name: name.into() })
    }
}

fn name(place: &StorePlace) -> String {
    let below = |prefix: &str| if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
    match place {
        StorePlace::File { root } => format!("file://{}", root.display()),
        StorePlace::S3(s3) => format!("s3://{}{}", s3.bucket, below(&s3.prefix)),
        StorePlace::Gcs(gcs) => format!("gs://{}{}", gcs.bucket, below(&gcs.prefix)),
        StorePlace::Azure(azure) => format!("az://{}{}", azure.container, below(&azure.prefix)),
    }
}

fn backend(config: &StoreConfig, env: Environment<'_>) -> Result<Backend, Fault> {
    if let StorePlace::File { root } = &config.place {
        return Ok(Backend::File(Arc::new(FileStore::open(root)?)));
    }
    // The HTTP client takes the process-wide TLS provider. An error means that one is installed already: just as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = client_options(config)?;
    let (store, prefix): (Arc<dyn ObjectStore>, &str) = match &config.place {
        StorePlace::File { .. } => unreachable!("returned above"),
        StorePlace::S3(s3) => (s3_store(s3, config, client, env)?, &s3.prefix),
        StorePlace::Gcs(gcs) => (gcs_store(gcs, config, client, env)?, &gcs.prefix),
        StorePlace::Azure(azure) => (azure_store(azure, config, client, env)?, &azure.prefix),
    };
    Ok(Backend::Remote(Remote::new(store, prefix)))
}

fn client_options(config: &StoreConfig) -> Result<ClientOptions, Fault> {
    let mut options = ClientOptions::new()
        .with_timeout(config.request_timeout)
        .with_connect_timeout(config.connect_timeout)
        .with_allow_http(config.allow_http);
    if let Some(file) = &config.ca {
        let pem = read(file)?;
        let certificates = Certificate::from_pem_bundle(pem.as_bytes()).map_err(classify::fault)?;
        if certificates.is_empty() {
            return Err(Fault::never(format!("store.ca: no PEM certificate in {}", file.display())));
        }
        options = certificates.into_iter().fold(options, ClientOptions::with_root_certificate);
    }
    Ok(options)
}

/// Our own retries see every failure, and retry what object_store does not: a create without answer.
fn no_retries(config: &StoreConfig) -> RetryConfig {
    RetryConfig { max_retries: 0, retry_timeout: config.retry_timeout, ..RetryConfig::default() }
}

fn s3_store(
    s3: &S3,
    config: &StoreConfig,
    client: ClientOptions,
    env: Environment<'_>,
) -> Result<Arc<dyn ObjectStore>, Fault> {
    let profile = s3_profile(s3, env)?;
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&s3.bucket)
        .with_client_options(client)
        .with_retry(no_retries(config))
        .with_conditional_put(S3ConditionalPut::ETagMatch);
    let given = AWS_VARIABLES.iter().filter_map(|name| Some((name, env(name)?)));
    for (name, value) in given {
        let key: AmazonS3ConfigKey = name.to_ascii_lowercase().parse().map_err(classify::fault)?;
        builder = builder.with_config(key, value);
    }
    builder = s3_credentials(builder, s3, &profile, env);
    let region = [s3.region.clone(), env("AWS_REGION"), env("AWS_DEFAULT_REGION"), profile.region];
    if let Some(region) = first(region) {
        builder = builder.with_region(region);
    }
    let endpoint =
        [s3.endpoint.clone(), env("AWS_ENDPOINT_URL_S3"), env("AWS_ENDPOINT_URL"), profile.endpoint_url.clone()];
    builder = match first(endpoint) {
        Some(endpoint) if s3.path_style => {
            builder.with_endpoint(checked_endpoint(&endpoint, config)?).with_virtual_hosted_style_request(false)
        }
        Some(endpoint) => {
            let endpoint = bucket_in_host(checked_endpoint(&endpoint, config)?, &s3.bucket);
            builder.with_endpoint(endpoint).with_virtual_hosted_style_request(true)
        }
        None => builder.with_virtual_hosted_style_request(!s3.path_style),
    };
    let store = s3_encryption(builder, &s3.encryption)?.build().map_err(classify::fault)?;
    Ok(Arc::new(store))
}

/// The order of AWS' tools: what is configured here, a profile named here, the environment's keys, a profile named or
/// default there; what remains (web identity, container, instance) is object_store's. Keys of a profile are read once:
/// those that run out want one of the latter.
fn s3_credentials(builder: AmazonS3Builder, s3: &S3, profile: &Profile, env: Environment<'_>) -> AmazonS3Builder {
    let exposed = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
    let configured = (exposed(&s3.access_key_id), exposed(&s3.secret_access_key), exposed(&s3.session_token));
    let of_profile = (profile.access_key_id.clone(), profile.secret_access_key.clone(), profile.session_token.clone());
    let of_env = (env("AWS_ACCESS_KEY_ID"), env("AWS_SECRET_ACCESS_KEY"), env("AWS_SESSION_TOKEN"));
    let candidates = match s3.profile {
        Some(_) => [configured, of_profile, of_env],
        None => [configured, of_env, of_profile],
    };
    match candidates.into_iter().find(|(id, key, _)| id.is_some() || key.is_some()) {
        Some((id, key, token)) => {
            let settings = [
                (AmazonS3ConfigKey::AccessKeyId, id),
                (AmazonS3ConfigKey::SecretAccessKey, key),
                (AmazonS3ConfigKey::Token, token),
            ];
            with_s3_settings(builder, settings)
        }
        None => {
            let settings = [
                (AmazonS3ConfigKey::RoleArn, profile.role_arn.clone()),
                (AmazonS3ConfigKey::WebIdentityTokenFile, profile.web_identity_token_file.clone()),
                (AmazonS3ConfigKey::RoleSessionName, profile.role_session_name.clone()),
            ];
            with_s3_settings(builder, settings)
        }
    }
}

fn with_s3_settings(
    builder: AmazonS3Builder,
    settings: impl IntoIterator<Item = (AmazonS3ConfigKey, Option<String>)>,
) -> AmazonS3Builder {
    let given = settings.into_iter().filter_map(|(key, value)| Some((key, value?)));
    given.fold(builder, |builder, (key, value)| builder.with_config(key, value))
}

/// A profile that is named must exist and be usable; the default one need not.
fn s3_profile(s3: &S3, env: Environment<'_>) -> Result<Profile, Fault> {
    let named = s3.profile.clone().or_else(|| env("AWS_PROFILE"));
    let home = env("HOME").map(PathBuf::from);
    let file = |variable: &str, usual: &str| {
        env(variable).map(PathBuf::from).or_else(|| Some(home.as_ref()?.join(".aws").join(usual)))
    };
    let credentials = file("AWS_SHARED_CREDENTIALS_FILE", "credentials").and_then(|path| read(&path).ok());
    let config = file("AWS_CONFIG_FILE", "config").and_then(|path| read(&path).ok());
    let name = named.as_deref().unwrap_or("default");
    let profile = aws_profile::profile(name, credentials.as_deref(), config.as_deref());
    match (profile, named.is_some()) {
        (Some(profile), true) if profile.access_key_id.is_none() && !profile.beyond_us.is_empty() => {
            Err(Fault::never(format!(
                "AWS profile {name} gets its credentials by {}, which is not supported: give keys, a role with \
                 web_identity_token_file, or run `aws configure export-credentials`",
                profile.beyond_us.join(", ")
            )))
        }
        (Some(profile), _) => Ok(profile),
        (None, false) => Ok(Profile::default()),
        (None, true) => Err(Fault::never(format!(
            "no AWS profile {name} in the shared credentials or config file (AWS_SHARED_CREDENTIALS_FILE, \
             AWS_CONFIG_FILE, ~/.aws)"
        ))),
    }
}

fn s3_encryption(builder: AmazonS3Builder, encryption: &S3Encryption) -> Result<AmazonS3Builder, Fault> {
    let key = |name: &str| name.parse::<AmazonS3ConfigKey>().map_err(classify::fault);
    Ok(match encryption {
        S3Encryption::Default => builder,
        S3Encryption::S3 => builder.with_config(key("aws_server_side_encryption")?, "AES256"),
        S3Encryption::Kms { key: kms_key, bucket_key } => {
            let settings = [
                (key("aws_server_side_encryption")?, Some("aws:kms".to_owned())),
                (key("aws_sse_kms_key_id")?, kms_key.clone()),
                (key("aws_sse_bucket_key_enabled")?, bucket_key.then(|| "true".to_owned())),
            ];
            with_s3_settings(builder, settings)
        }
    })
}

fn gcs_store(
    gcs: &Gcs,
    config: &StoreConfig,
    client: ClientOptions,
    env: Environment<'_>,
) -> Result<Arc<dyn ObjectStore>, Fault> {
    let mut builder = GoogleCloudStorageBuilder::new()
        .with_bucket_name(&gcs.bucket)
        .with_client_options(client)
        .with_retry(no_retries(config));
    match &gcs.service_account {
        Some(file) => builder = builder.with_service_account_path(file.to_string_lossy()),
        None => {
            let given = GOOGLE_VARIABLES.iter().filter_map(|name| Some((name, env(name)?)));
            for (name, value) in given {
                let key: GoogleConfigKey = name.to_ascii_lowercase().parse().map_err(classify::fault)?;
                builder = builder.with_config(key, value);
            }
        }
    }
    if let Some(endpoint) = &gcs.endpoint {
        builder = builder.with_base_url(checked_endpoint(endpoint, config)?);
    }
    Ok(Arc::new(builder.build().map_err(classify::fault)?))
}

fn azure_store(
    azure: &Azure,
    config: &StoreConfig,
    client: ClientOptions,
    env: Environment<'_>,
) -> Result<Arc<dyn ObjectStore>, Fault> {
    let mut builder = MicrosoftAzureBuilder::new();
    let given = AZURE_VARIABLES.iter().filter_map(|name| Some((name, env(name)?)));
    for (name, value) in given {
        let key: AzureConfigKey = name.to_ascii_lowercase().parse().map_err(classify::fault)?;
        builder = builder.with_config(key, value);
    }
    builder = builder.with_container_name(&azure.container).with_client_options(client).with_retry(no_retries(config));
    if azure.emulator {
        builder = builder.with_use_emulator(true);
    }
    let exposed = |secret: &Option<Secret>| secret.as_ref().map(|secret| secret.expose().to_owned());
    // One credential configured here is the one meant, whatever the environment holds.
    let credential = match (exposed(&azure.access_key), exposed(&azure.sas_token)) {
        (Some(key), _) => Some((AzureConfigKey::AccessKey, key, "access_key")),
        (None, Some(token)) => Some((AzureConfigKey::SasKey, token, "sas_token")),
        (None, None) => None,
    };
    if let Some((key, value, kind)) = credential {
        builder = builder.with_config(key, value).with_credential_type(kind);
    }
    if let Some(account) = &azure.account {
        builder = builder.with_account(account);
    }
    if let Some(endpoint) = &azure.endpoint {
        builder = builder.with_endpoint(checked_endpoint(endpoint, config)?.to_owned());
    }
    Ok(Arc::new(builder.build().map_err(classify::fault)?))
}

fn checked_endpoint<'a>(endpoint: &'a str, config: &StoreConfig) -> Result<&'a str, Fault> {
    if endpoint.starts_with("https://") || (endpoint.starts_with("http://") && config.allow_http) {
        return Ok(endpoint.trim_end_matches('/'));
    }
    let mend = match endpoint.starts_with("http://") {
        true => "is not encrypted: set store.allow_http = true to allow that",
        false => "must begin with https:// or http://",
    };
    Err(Fault::never(format!("endpoint {endpoint} {mend}")))
}

/// What object_store expects of an endpoint when requests are virtual-hosted.
fn bucket_in_host(endpoint: &str, bucket: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, host)) => format!("{scheme}://{bucket}.{host}"),
        None => endpoint.to_owned(),
    }
}

fn first<const N: usize>(candidates: [Option<String>; N]) -> Option<String> {
    candidates.into_iter().flatten().find(|value| !value.is_empty())
}

fn read(file: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(file)
        .map_err(|error| Fault::new(Class::Never, Kind::Other, format!("cannot read {}: {error}", file.display())))
}
