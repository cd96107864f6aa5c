//! What people decide about groups, as commands.

use std::io::Write;

use anyhow::Context;
use chrono::{DateTime, Utc};

use super::Session;
use super::arguments::{When, group};
use crate::dlq::decide::{Decision, decide};
use crate::dlq::fingerprint::GroupId;
use crate::dlq::log::{AsOf, Said, SchemaVersion};
use crate::dlq::records::{Filter, Unreadable};

/// Which groups are meant, and why.
#[derive(Clone, Debug, clap::Args)]
pub struct ActArguments {
    /// The groups, as `dlq groups` shows them.
    #[arg(required = true, value_name = "GROUP", value_parser = group)]
    pub groups: Vec<GroupId>,
    /// Why; kept for the audit.
    #[arg(long, value_name = "TEXT")]
    pub why: String,
    /// Who says so; by default the user of this system, with the host's name.
    #[arg(long, value_name = "NAME", env = "PARQUEDUCT_ACTOR")]
    pub actor: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct AcknowledgeArguments {
    #[command(flatten)]
    pub act: ActArguments,
    /// Who deals with it.
    #[arg(long, value_name = "NAME")]
    pub owner: Option<String>,
    /// What others should know.
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct ResolveArguments {
    #[command(flatten)]
    pub act: ActArguments,
    /// From when on new letters are news: a time (now, if it is not given), or a version of the schema, such as flight@2;
    /// older versions are then expected to go on failing.
    #[arg(long, value_name = "TIME|NAME@VERSION", value_parser = AsOfArgument::parse)]
    pub as_of: Option<AsOfArgument>,
}

/// As people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsOfArgument {
    Time(When),
    Schema(SchemaVersion),
}

impl AsOfArgument {
    fn parse(text: &str) -> Result<Self, String> {
        match SchemaVersion::parse(text) {
            Some(version) => Ok(AsOfArgument::Schema(version)),
            None if text.contains('@') => Err("not a schema; write its name and version, such as flight@2".to_owned()),
            None => When::parse(text).map(AsOfArgument::Time),
        }
    }

    fn at(&self, now: DateTime<Utc>) -> anyhow::Result<AsOf> {
        Ok(match self {
            AsOfArgument::Time(when) => AsOf::Time(when.at(now)?),
            AsOfArgument::Schema(version) => AsOf::Schema(version.clone()),
        })
    }
}

impl<W: Write> Session<'_, W> {
    pub(super) async fn acknowledge(&mut self, arguments: &AcknowledgeArguments) -> anyhow::Result<Vec<Unreadable>> {
        let AcknowledgeArguments { act, owner, note } = arguments;
        let decision = Decision::Acknowledge { owner: owner.clone(), note: note.clone() };
        self.act(act, &decision, "acknowledged").await
    }

    pub(super) async fn resolve(&mut self, arguments: &ResolveArguments) -> anyhow::Result<Vec<Unreadable>> {
        let as_of = match &arguments.as_of {
            Some(as_of) => as_of.at(self.now)?,
            None => AsOf::Time(self.now),
        };
        self.act(&arguments.act, &Decision::Resolve { as_of }, "resolved").await
    }

    pub(super) async fn ignore(&mut self, arguments: &ActArguments) -> anyhow::Result<Vec<Unreadable>> {
        self.act(arguments, &Decision::Ignore, "ignored").await
    }

    pub(super) async fn reopen(&mut self, arguments: &ActArguments) -> anyhow::Result<Vec<Unreadable>> {
        self.act(arguments, &Decision::Reopen, "open again").await
    }

    async fn act(
        &mut self,
        arguments: &ActArguments,
        decision: &Decision,
        done: &str,
    ) -> anyhow::Result<Vec<Unreadable>> {
        let actor = arguments.actor.as_deref().unwrap_or(&self.actor);
        let said = Said::new(self.now, actor, &arguments.why)?;
        let (known, unreadable) = self.records.groups(&Filter::default()).await?;
        let knows = |id: &GroupId| known.iter().any(|group| group.id == *id);
        let mut state = self.log.load().await.context("nothing was decided")?;
        let decided = decide(&self.log, &mut state, knows, &arguments.groups, decision, &said).await?;
        let groups = if decided == 1 { "1 group is".to_owned() } else { format!("{decided} groups are") };
        writeln!(self.out, "{groups} {done}, says {}", super::text::clean(actor))?;
        Ok(unreadable)
    }
}
