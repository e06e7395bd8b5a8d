//! One option for each set of hooks in the catalogue, which clap's derive cannot write: it knows
//! only what stands in the source.

use clap::{
    Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, builder::PossibleValuesParser,
};
use skbtrace_common::hooks::{DROP, SETS};

/// The option that prints the stacks of drops, and so chooses their set.
pub const DROP_STACK: &str = "dropstack";

/// The chosen sets: bits of [`SETS`], the first set when none was named or implied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sets(pub u32);

impl Args for Sets {
    fn augment_args(command: Command) -> Command {
        command.args(SETS.iter().map(|set| {
            Arg::new(set.name)
                .long(set.name)
                .help(sentence(set.help))
                .action(ArgAction::SetTrue)
        }))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Sets {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let named = SETS.iter().filter(|set| matches.get_flag(set.name));
        let mut bits = named.fold(0, |bits, set| bits | set.bit);
        if let Ok(Some(true)) = matches.try_get_one::<bool>(DROP_STACK) {
            bits |= DROP;
        }
        Ok(Self(if bits == 0 { default_bits() } else { bits }))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Accepts the names of sets.
pub fn named() -> PossibleValuesParser {
    PossibleValuesParser::new(SETS.iter().map(|set| set.name))
}

/// The bits of the named sets; all when none is named.
pub fn bits(names: &[String]) -> u32 {
    SETS.iter()
        .filter(|set| names.is_empty() || names.iter().any(|name| name == set.name))
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
