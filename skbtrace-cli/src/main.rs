//! `skbtrace`: exit codes and the words on standard error.

use std::{env, io, process::ExitCode};

use skbtrace_cli::{
    args::{self, Invocation},
    commands::{self, check, generate, schema},
    replay::{self, ReplaySettings},
    session::{self, Ending},
    settings::Settings,
    tell, top,
};

/// Nothing matched.
const NOTHING: u8 = 1;
/// It could not run.
const FAILED: u8 = 2;
/// The cause of something was found (`--exit-code`).
const FOUND: u8 = 3;

fn main() -> ExitCode {
    let invocation = match args::parse(env::args_os()) {
        Ok(invocation) => invocation,
        Err(error) => {
            // Help and version are no failures; clap knows where each belongs.
            let _ = error.print();
            return if error.use_stderr() {
                ExitCode::from(FAILED)
            } else {
                ExitCode::SUCCESS
            };
        }
    };
    match dispatch(invocation) {
        Ok(code) => code,
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tell!("skbtrace: {error:#}");
            ExitCode::from(FAILED)
        }
    }
}

fn dispatch(invocation: Invocation) -> anyhow::Result<ExitCode> {
    match invocation {
        Invocation::Trace(args) => {
            let settings = Settings::try_from(args)?;
            Ok(code(session::run(&settings)?))
        }
        Invocation::Replay(args) => {
            let settings = ReplaySettings::try_from(args)?;
            Ok(code(replay::run(&settings)?))
        }
        Invocation::Top(args) => {
            top::require_terminal()?;
            let settings = Settings::try_from(args)?;
            Ok(code(session::run(&settings)?))
        }
        Invocation::Hooks { sets, btf } => {
            commands::hooks::run(sets, btf.as_deref(), &mut io::stdout())
        }
        Invocation::Check { btf } => Ok(check::run(btf.as_deref(), &mut io::stdout())?),
        Invocation::Completions(shell) => {
            generate::completions(shell, &mut io::stdout())?;
            Ok(ExitCode::SUCCESS)
        }
        Invocation::Man => {
            generate::man(&mut io::stdout())?;
            Ok(ExitCode::SUCCESS)
        }
        Invocation::Schema => {
            schema::run(&mut io::stdout())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn code(ending: Ending) -> ExitCode {
    match ending {
        Ending::Done => ExitCode::SUCCESS,
        Ending::NothingMatched => ExitCode::from(NOTHING),
        Ending::Found => ExitCode::from(FOUND),
    }
}

/// Whether the output was closed by whoever read it, who then had enough.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
