//! `snapload script`: from a scenario file to a verdict.

mod human;
mod json;

use snapload::scenario::Scenario;
use snapload::{Cpus, LoadConfig};

use self::human::Human;
use crate::cli::ScriptArguments;
use crate::failure::Failure;
use crate::signals::set_on_interrupt;
use crate::written::Written;

pub(crate) fn run(arguments: &ScriptArguments) -> Result<(), Failure> {
    let scenario = Scenario::read_file(&arguments.file)?;
    let base = base(arguments, &scenario)?;
    set_on_interrupt(&base.stop)?;
    let mut human = (!arguments.json).then(Human::new);
    let mut written = Written::new(&base.stop);
    if let Some(human) = &human {
        written.note(|| human.begin(&scenario, &base));
    }
    let result = scenario.run(&base, &mut |progress| {
        written.note(|| match &mut human {
            Some(human) => human.progress(progress),
            None => json::progress(progress),
        });
    });
    written.finish()?;
    let report = result?;
    let verdict = match &human {
        Some(human) => human.verdict(&report),
        None => json::verdict(&report),
    };
    verdict.map_err(Failure::Output)?;
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
    let common = &arguments.common;
    let identities = common.identities(Some(count), scenario.key_seed)?;
    let mut base = LoadConfig::new(gateway, public_key, identities);
    common.apply(&mut base);
    base.cpus = arguments.cpus.clone().unwrap_or(Cpus::Unpinned);
    base.connect_timeout = arguments.connect_timeout;
    base.source_ips = base.source_ips.or(scenario.source_ips);
    Ok(base)
}
