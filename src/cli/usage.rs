//! What all commands hold of their arguments: an empty value is a mistake, most often a variable that is not set; an
//! empty environment variable is none; and every fault of the arguments ends with exit code 2.

use std::collections::BTreeSet;
use std::ffi::OsStr;

use clap::builder::{Resettable, StringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, Command};

/// An argument that cannot be right, found after the command line was read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) String);

/// The command line as it is read: no text may be empty, and empty variables do not count.
pub(super) fn strict(command: Command) -> Command {
    command
        .mut_args(|arg| {
            let is_empty = |name: &OsStr| std::env::var_os(name).is_some_and(|value| value.is_empty());
            let arg = if arg.get_env().is_some_and(is_empty) { arg.env(Resettable::Reset) } else { arg };
            let is_text = arg.get_value_parser().type_id() == std::any::TypeId::of::<String>();
            if is_text { arg.value_parser(Text) } else { arg }
        })
        .mut_subcommands(strict)
}

/// The environment variables that stand for flags, of all commands.
pub(super) fn variables(command: &Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter_map(|arg| Some(arg.get_env()?.to_str()?.to_owned()));
    own.chain(command.get_subcommands().flat_map(variables)).collect()
}

/// A text that says something; defaults may be empty.
#[derive(Debug, Clone, Copy)]
struct Text;

impl TypedValueParser for Text {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, clap::Error> {
        self.parse_ref_(command, arg, value, ValueSource::CommandLine)
    }

    fn parse_ref_(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<String, clap::Error> {
        let text = StringValueParser::new().parse_ref(command, arg, value)?;
        if !text.trim().is_empty() || source == ValueSource::DefaultValue {
            return Ok(text);
        }
        let name = arg.map(ToString::to_string).unwrap_or_default();
        let may_stay_out = arg.is_some_and(|arg| !arg.is_required_set());
        let fix = if may_stay_out { "give it a value, or leave it out" } else { "give it a value" };
        let fault = format!("{name} is empty: {fix}; is a variable not set?\n");
        Err(clap::Error::raw(ErrorKind::InvalidValue, fault).with_cmd(command))
    }
}
