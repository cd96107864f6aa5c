//! `parqueduct dlq`: the dead letters, for people and for programs. All text goes to lent writers.

mod acts; // what people decide about groups
mod arguments;
mod audit;
mod body; // a body as JSON, text or hexadecimal
mod export;
mod group_line; // one group as JSON
pub mod replay; // plans and replays
mod show;
#[cfg(test)]
mod tests;
mod text; // cleaning and timing what is shown

use std::io::{self, Write};
use std::ops::ControlFlow;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};

pub use acts::{AcknowledgeArguments, ActArguments, AsOfArgument, ResolveArguments};
pub use arguments::{
    BodyForm, Command, ExportArguments, FilterArguments, GroupsArguments, ListArguments, ShowArguments, StateArgument,
    When,
};
pub use audit::{AuditArguments, AuditCommand};

use crate::cli::table::{Column, Table};
use crate::dlq::groups::Group;
use crate::dlq::life;
use crate::dlq::line;
use crate::dlq::log::{self, Log, LogError};
use crate::dlq::record::Summary;
use crate::dlq::records::{Cursor, Filter, Found, LetterState, Order, Records, Unreadable};
use crate::store::Store;
use text::{clean, seconds};

/// Files of dead letters read at the same time.
const READS_MAX: usize = 4;

/// Rows of a table when nobody says how many; programs get all.
const TABLE_ROWS: usize = 100;

/// Below a table of groups in which the two differ.
const COUNTED_AND_SHOWING: &str = "COUNTED adds up to all letters: each is counted by its first issue. \
    SHOWING counts a letter in every group whose issue it has.";

/// Whether everything was shown; decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Complete,
    /// Some files could not be read; each was named on the error output.
    Partial,
}

impl Outcome {
    pub const fn exit_code(self) -> u8 {
        match self {
            Outcome::Complete => 0,
            Outcome::Partial => 1,
        }
    }
}

/// Where a command runs.
pub struct Surroundings {
    pub store: Store,
    /// What `--since 2h` counts back from, and when things are decided.
    pub now: DateTime<Utc>,
    /// Who decides, if nobody says.
    pub actor: String,
    /// Characters in a line of the terminal; `None` when the output is no terminal: then nothing is cut.
    pub width: Option<usize>,
}

/// Runs one command. A reader who closes `out` early ends it quietly.
///
/// # Errors
/// One line for a person: the store, a file to write, or an id that is not there.
pub async fn run(
    command: &Command,
    surroundings: Surroundings,
    out: &mut impl Write,
    errors: &mut impl Write,
) -> anyhow::Result<Outcome> {
    let Surroundings { store, now, actor, width } = surroundings;
    let place = store.name().to_owned();
    let log = Log::new(store.clone());
    let records = Records::new(store, READS_MAX);
    let mut session = Session { records, log, place, now, actor, width, out: Out::new(out) };
    let done = match command {
        Command::List(arguments) => session.list(arguments).await,
        Command::Show(arguments) => session.show(arguments).await,
        Command::Groups(arguments) => session.groups(arguments).await,
        Command::Export(arguments) => session.export(arguments).await,
        Command::Acknowledge(arguments) => session.acknowledge(arguments).await,
        Command::Resolve(arguments) => session.resolve(arguments).await,
        Command::Ignore(arguments) => session.ignore(arguments).await,
        Command::Reopen(arguments) => session.reopen(arguments).await,
        Command::Audit(arguments) => session.audit(arguments).await,
        Command::Replay(_) => unreachable!("it has its own way"),
    };
    let flushed = session.out.flush();
    if session.out.closed {
        return Ok(Outcome::Complete);
    }
    let unreadable = done?;
    flushed.context("cannot write the output")?;
    for file in &unreadable {
        let chain: Vec<_> = anyhow::Chain::new(file).map(ToString::to_string).collect();
        // Nobody may be listening there; the exit code says it as well.
        let _ = writeln!(errors, "{}", clean(&chain.join(": ")));
    }
    Ok(if unreadable.is_empty() { Outcome::Complete } else { Outcome::Partial })
}

/// A lent writer that remembers whether its reader has gone.
struct Out<'w, W> {
    writer: &'w mut W,
    closed: bool,
}

impl<'w, W: Write> Out<'w, W> {
    fn new(writer: &'w mut W) -> Self {
        Self { writer, closed: false }
    }

    fn noting<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.closed |= matches!(&result, Err(error) if error.kind() == io::ErrorKind::BrokenPipe);
        result
    }
}

impl<W: Write> Write for Out<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes);
        self.noting(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.writer.flush();
        self.noting(flushed)
    }
}

struct Session<'w, W> {
    records: Records,
    log: Log,
    /// The store's name.
    place: String,
    now: DateTime<Utc>,
    actor: String,
    width: Option<usize>,
    out: Out<'w, W>,
}

impl<W: Write> Session<'_, W> {
    async fn list(&mut self, arguments: &ListArguments) -> anyhow::Result<Vec<Unreadable>> {
        let filter = arguments.filter.with(arguments.state, self.now)?;
        let (order, after) = (Order::NewestFirst, arguments.after);
        if arguments.json {
            let limit = arguments.limit.unwrap_or(usize::MAX);
            let out = &mut self.out;
            let each = |found: Found| line::write(out, &found);
            return each_letter(&self.records, &filter, (order, after), limit, each).await;
        }
        let limit = arguments.limit.unwrap_or(TABLE_ROWS);
        let page = self.records.page_of_rows(&filter, order, after, limit, row_of_letter).await?;
        if page.letters.is_empty() && limit > 0 {
            self.nothing(&filter)?;
            return Ok(page.unreadable);
        }
        let mut table = letters_table();
        page.letters.into_iter().for_each(|row| table.add(row));
        table.write(&mut self.out, self.width)?;
        if let Some(next) = page.next {
            let which = if after.is_some() { "next" } else { "newest" };
            writeln!(self.out, "\nthe {which} {limit}; --limit shows more, --after {next} goes on")?;
        }
        Ok(page.unreadable)
    }

    async fn groups(&mut self, arguments: &GroupsArguments) -> anyhow::Result<Vec<Unreadable>> {
        let filter = arguments.filter.at(self.now)?;
        let (mut groups, unreadable) = self.records.groups(&filter).await?;
        let (log, trouble) = self.read_log().await?;
        life::stand(&mut groups, &log);
        if !arguments.states.is_empty() {
            groups.retain(|group| arguments.states.contains(&group.state));
        }
        match arguments.json {
            true => self.groups_as_lines(&groups, &log, arguments.limit)?,
            false => self.groups_as_table(groups, arguments, &filter)?,
        }
        match trouble {
            Some(error) => Err(error).context("the states are those before"),
            None => Ok(unreadable),
        }
    }

    /// The log, as far as it can be read, and what is wrong with it then.
    async fn read_log(&self) -> Result<(log::State, Option<LogError>), LogError> {
        match self.log.load().await {
            Ok(state) => Ok((state, None)),
            Err(error @ LogError::Broken { .. }) => {
                let mut state = log::State::default();
                // Ends where the load did.
                let _ = self.log.refresh(&mut state).await;
                Ok((state, Some(error)))
            }
            Err(error) => Err(error),
        }
    }

    fn groups_as_lines(&mut self, groups: &[Group], log: &log::State, limit: Option<usize>) -> io::Result<()> {
        let mut groups = groups.iter().take(limit.unwrap_or(usize::MAX));
        groups.try_for_each(|group| group_line::write(&mut self.out, group, log.life(&group.id)))
    }

    fn groups_as_table(
        &mut self,
        mut groups: Vec<Group>,
        arguments: &GroupsArguments,
        filter: &Filter,
    ) -> io::Result<()> {
        let all = groups.len();
        groups.truncate(arguments.limit.unwrap_or(all));
        if all == 0 {
            return match arguments.states.as_slice() {
                [] => self.nothing(filter),
                states => {
                    let states: Vec<_> = states.iter().map(|state| state.as_str()).collect();
                    writeln!(self.out, "no group of those that are meant is {}", states.join(" or "))
                }
            };
        }
        let mut table = groups_table();
        for group in &groups {
            table.add(row_of_group(group));
        }
        table.write(&mut self.out, self.width)?;
        if groups.iter().any(|group| group.count != group.showing) {
            writeln!(self.out, "\n{COUNTED_AND_SHOWING}")?;
        }
        if groups.len() < all {
            writeln!(self.out, "\nthe largest {} of {all} groups; --limit shows more", groups.len())?;
        }
        Ok(())
    }

    async fn show(&mut self, arguments: &ShowArguments) -> anyhow::Result<Vec<Unreadable>> {
        let (found, unreadable) = self.records.look_up(arguments.id).await?;
        let Some(found) = found else {
            if let Some(file) = unreadable.into_iter().next() {
                return Err(file).with_context(|| format!("dead letter {} not found", arguments.id));
            }
            bail!("no dead letter {} in {}; `parqueduct dlq list` shows which there are", arguments.id, self.place);
        };
        if arguments.json {
            line::write(&mut self.out, &found)?;
        } else if arguments.body == BodyForm::Raw {
            self.out.write_all(&found.letter.message.body)?;
        } else {
            show::write(&mut self.out, &found, arguments.body)?;
        }
        Ok(unreadable)
    }

    async fn export(&mut self, arguments: &ExportArguments) -> anyhow::Result<Vec<Unreadable>> {
        let filter = arguments.filter.with(arguments.state, self.now)?;
        let mut destination = export::Destination::open(arguments, &mut self.out)?;
        let limit = arguments.limit.unwrap_or(usize::MAX);
        let each = |found: Found| destination.write(found);
        let unreadable = each_letter(&self.records, &filter, (Order::OldestFirst, None), limit, each).await?;
        if let Some(said) = destination.finish()? {
            writeln!(self.out, "{said}")?;
        }
        Ok(unreadable)
    }

    fn nothing(&mut self, filter: &Filter) -> io::Result<()> {
        let dead = Filter { state: Some(LetterState::Dead), ..Filter::default() };
        if *filter == Filter::default() || *filter == dead {
            writeln!(self.out, "no dead letters: {} holds none", clean(&self.place))
        } else {
            let told = arguments::told(filter);
            writeln!(self.out, "no dead letters: none in {} is {}", clean(&self.place), clean(&told))
        }
    }
}

fn letters_table() -> Table<5> {
    Table::new([
        Column::whole("ID"),
        Column::whole("DEAD AT (UTC)"),
        Column::whole("PIPELINE"),
        Column::whole("GROUP"),
        Column::cut("WHAT IS WRONG"),
    ])
}

fn row_of_letter(letter: &Summary<'_>, _: LetterState) -> [String; 5] {
    let group = letter.issues.first().map_or("", |issue| issue.group);
    let others = match letter.issues.len() {
        0 | 1 => String::new(),
        issues => format!(" (+{})", issues - 1),
    };
    let what = letter.sentence() + &others;
    let texts = [&letter.id.to_string(), &seconds(letter.dead_at), letter.pipeline, group, &what];
    texts.map(|text| clean(text).into_owned())
}

fn groups_table() -> Table<9> {
    Table::new([
        Column::whole("GROUP"),
        Column::whole("PIPELINE"),
        Column::whole("STATE"),
        Column::number("OPEN"),
        Column::number("COUNTED"),
        Column::number("SHOWING"),
        Column::whole("FIRST SEEN (UTC)"),
        Column::whole("LAST SEEN (UTC)"),
        Column::cut("WHAT IS WRONG"),
    ])
}

fn row_of_group(group: &Group) -> [String; 9] {
    let texts = [
        group.id.as_str(),
        &group.pipeline,
        group.state.as_str(),
        &group.open.to_string(),
        &group.count.to_string(),
        &group.showing.to_string(),
        &seconds(group.first_seen),
        &seconds(group.last_seen),
        &group.title,
    ];
    texts.map(|text| clean(text).into_owned())
}

/// Gives at most `limit` letters to `each`, which may fail.
async fn each_letter<E: Into<anyhow::Error>>(
    records: &Records,
    filter: &Filter,
    (order, after): (Order, Option<Cursor>),
    limit: usize,
    mut each: impl FnMut(Found) -> Result<(), E>,
) -> anyhow::Result<Vec<Unreadable>> {
    let mut failure = None;
    let unreadable = records
        .found(filter, order, after, limit, |found| match each(found) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failure = Some(error.into());
                ControlFlow::Break(())
            }
        })
        .await?;
    match failure {
        Some(error) => Err(error),
        None => Ok(unreadable),
    }
}
