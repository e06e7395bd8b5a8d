//! One option for each set of hooks in the catalogue, which clap's derive cannot write: it knows
//! only what stands in the source.
//!
//! `--set` takes the same names as a list, and [`ALL`] for every set there is.

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, builder::PossibleValuesParser,
};
use skbtrace_common::hooks::{DROP, SETS};

/// The option that prints the stacks of drops, and so chooses their set.
pub const DROP_STACK: &str = "dropstack";

/// The option for every function there is, beside which no set is the default.
pub const EVERYTHING: &str = "all";

/// Stands for all sets in a list of names.
const ALL: &str = "all";

/// The option that takes a list of names.
const LIST: &str = "set";

/// The chosen sets: bits of [`SETS`]; when none was named or implied the first set, or with
/// [`EVERYTHING`] none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sets(pub u32);

impl Args for Sets {
    fn augment_args(command: Command) -> Command {
        let options = SETS.iter().map(|set| {
            Arg::new(set.name)
                .long(set.name)
                .help(sentence(set.help))
                .action(ArgAction::SetTrue)
        });
        let list = Arg::new(LIST)
            .long(LIST)
            .value_name("SET")
            .help("The same as a list: drop,nat; all for every set")
            .value_delimiter(',')
            .value_parser(named())
            .hide_possible_values(true)
            .action(ArgAction::Append);
        command.args(options).arg(list)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Sets {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let options = SETS.iter().filter(|set| matches.get_flag(set.name));
        let listed = matches.get_many::<String>(LIST).unwrap_or_default();
        let chosen = listed
            .map(|name| bits_of(name))
            .chain(options.map(|set| set.bit))
            .fold(0, |bits, more| bits | more);
        let is_set = |option| matches!(matches.try_get_one::<bool>(option), Ok(Some(true)));
        let implied = if is_set(DROP_STACK) { DROP } else { 0 };
        let chosen = chosen | implied;
        Ok(Self(if chosen == 0 && !is_set(EVERYTHING) {
            default_bits()
        } else {
            chosen
        }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Accepts the names of sets, and `all`.
pub fn named() -> PossibleValuesParser {
    PossibleValuesParser::new(SETS.iter().map(|set| set.name).chain([ALL]))
}

/// The bits of the named sets; all when none is named.
pub fn bits(names: &[String]) -> u32 {
    if names.is_empty() {
        return bits_of(ALL);
    }
    names.iter().fold(0, |bits, name| bits | bits_of(name))
}

fn bits_of(name: &str) -> u32 {
    SETS.iter()
        .filter(|set| name == ALL || name == set.name)
        .fold(0, |bits, set| bits | set.bit)
}

fn default_bits() -> u32 {
    SETS.first().map_or(0, |set| set.bit)
}

/// With a capital, like the other help texts.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}
