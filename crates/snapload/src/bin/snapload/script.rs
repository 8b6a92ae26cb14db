//! `snapload script`: from a scenario file to a verdict.

mod human;
mod json;
mod output;

use snapload::scenario::Scenario;
use snapload::{Cpus, Identities, LoadConfig, LoadError};

use self::human::Human;
use self::json::Json;
use self::output::Output;
use crate::cli::ScriptArguments;
use crate::failure::Failure;
use crate::signals::set_on_interrupt;
use crate::written::Written;

pub(crate) fn run(arguments: &ScriptArguments) -> Result<(), Failure> {
    let scenario =
        Scenario::read_file(&arguments.file).map_err(|error| Failure::Usage(error.to_string()))?;
    let base = base(arguments, &scenario)?;
    set_on_interrupt(&base.stop).map_err(Failure::Signals)?;
    let mut output: Box<dyn Output> = if arguments.json {
        Box::new(Json)
    } else {
        Box::new(Human::new())
    };
    let mut written = Written::new(&base.stop);
    written.note(|| output.begin(&scenario, &base));
    let result = scenario.run(&base, &mut |progress| {
        written.note(|| output.progress(progress));
    });
    written.finish()?;
    let report = result?;
    output.verdict(&report).map_err(Failure::Output)?;
    if report.interrupted {
        Err(Failure::Interrupted)
    } else if report.passed {
        Ok(())
    } else {
        Err(Failure::Verdict)
    }
}

/// Returns the configuration that the scenario does not contain, or that options override.
fn base(arguments: &ScriptArguments, scenario: &Scenario) -> Result<LoadConfig, Failure> {
    let missing = |flag: &str, key: &str| {
        let file = arguments.file.display();
        Failure::Usage(format!(
            "{flag} is missing; add it, or {key} = \"..\" to {file}"
        ))
    };
    let gateway = arguments
        .gateway
        .or(scenario.gateway)
        .ok_or_else(|| missing("--gateway", "gateway"))?;
    let public_key = arguments
        .public_key
        .map(|key| key.0)
        .or(scenario.public_key)
        .ok_or_else(|| missing("--public-key", "public_key"))?;
    let count = scenario.identities_needed();
    let seed = arguments.key_seed.or(scenario.key_seed);
    let identities = match (&arguments.keys_file, seed) {
        (Some(path), _) => {
            Identities::read_file(path).map_err(|error| Failure::Usage(error.to_string()))?
        }
        (None, Some(seed)) => Identities::from_seed(seed, count),
        (None, None) => Identities::random(count).map_err(LoadError::Random)?,
    };
    let mut base = LoadConfig::new(gateway, public_key, identities);
    base.cpus = arguments.cpus.clone().unwrap_or(Cpus::Unpinned);
    base.catch_up = arguments.catch_up;
    base.connect_timeout = arguments.connect_timeout;
    base.source_ips = arguments.source_ip.or(scenario.source_ips);
    base.isd_as = arguments.isd_as;
    base.allow_remote = arguments.allow_remote;
    Ok(base)
}
