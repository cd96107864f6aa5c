//! Profiles of AWS' shared credentials and config files, which object_store does not read.
//! Format: <https://docs.aws.amazon.com/sdkref/latest/guide/file-format.html>. Pure: the caller brings the texts.

use std::collections::BTreeMap;

/// What a profile says that we can use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Profile {
    pub access_key_id: Option<String>,
    pub secret_access_key: Option<String>,
    pub session_token: Option<String>,
    pub region: Option<String>,
    pub endpoint_url: Option<String>,
    pub role_arn: Option<String>,
    pub role_session_name: Option<String>,
    pub web_identity_token_file: Option<String>,
    /// Settings that name credentials of a kind we cannot get.
    pub beyond_us: Vec<&'static str>,
}

/// Ways to credentials that need more than files: named in the error, so that nobody waits for them.
const BEYOND_US: [&str; 5] =
    ["credential_process", "sso_session", "sso_start_url", "source_profile", "credential_source"];

/// The profile `name`; settings of `credentials` win over those of `config`, as in AWS' tools. `None` when neither file
/// has it.
pub(super) fn profile(name: &str, credentials: Option<&str>, config: Option<&str>) -> Option<Profile> {
    let in_config = config.and_then(|text| section(text, &[&format!("profile {name}"), name]));
    let in_credentials = credentials.and_then(|text| section(text, &[name]));
    if in_config.is_none() && in_credentials.is_none() {
        return None;
    }
    let mut settings = in_config.unwrap_or_default();
    settings.extend(in_credentials.unwrap_or_default());
    let mut take = |key: &str| settings.remove(key);
    Some(Profile {
        access_key_id: take("aws_access_key_id"),
        secret_access_key: take("aws_secret_access_key"),
        session_token: take("aws_session_token"),
        region: take("region"),
        endpoint_url: take("endpoint_url"),
        role_arn: take("role_arn"),
        role_session_name: take("role_session_name"),
        web_identity_token_file: take("web_identity_token_file"),
        beyond_us: BEYOND_US.into_iter().filter(|key| settings.contains_key(*key)).collect(),
    })
}

/// The settings of the sections of those names. Nested settings (indented lines) are passed over.
fn section(text: &str, names: &[&str]) -> Option<BTreeMap<String, String>> {
    let mut settings: Option<BTreeMap<String, String>> = None;
    let mut inside = false;
    for line in text.lines() {
        let bare = line.trim();
        if let Some(title) = bare.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            let title = title.split_whitespace().collect::<Vec<_>>().join(" ");
            inside = names.contains(&title.as_str());
            if inside {
                settings.get_or_insert_default();
            }
        } else if inside
            && !line.starts_with([' ', '\t', '#', ';'])
            && let (Some((key, value)), Some(settings)) = (bare.split_once('='), &mut settings)
        {
            let value = value.split(" #").next().unwrap_or_default().trim();
            settings.insert(key.trim().to_ascii_lowercase(), value.to_owned());
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "[default]\naws_access_key_id=AKID0\naws_secret_access_key = s=cr/et+0=\n\n[lake]\n\
                               aws_access_key_id = AKID1\naws_secret_access_key = two # comment\naws_session_token = t\n";
    const CONFIG: &str = "# comment\n[default]\nregion = us-east-1\n[profile lake]\nregion=eu-west-1\ns3 =\n  \
                          region = no\naws_access_key_id = weaker\n[profile sso]\nsso_session = corp\n";

    #[test]
    fn both_files_make_a_profile_and_the_credentials_file_wins() {
        let lake = profile("lake", Some(CREDENTIALS), Some(CONFIG)).expect("is there");
        assert_eq!(lake.access_key_id.as_deref(), Some("AKID1"));
        assert_eq!(lake.secret_access_key.as_deref(), Some("two"));
        assert_eq!(lake.session_token.as_deref(), Some("t"));
        assert_eq!(lake.region.as_deref(), Some("eu-west-1"));
        let default = profile("default", Some(CREDENTIALS), None).expect("is there");
        assert_eq!(default.secret_access_key.as_deref(), Some("s=cr/et+0="));
        assert_eq!(profile("other", Some(CREDENTIALS), Some(CONFIG)), None);
    }

    #[test]
    fn credentials_we_cannot_get_are_named() {
        assert_eq!(profile("sso", None, Some(CONFIG)).expect("is there").beyond_us, ["sso_session"]);
    }
}
