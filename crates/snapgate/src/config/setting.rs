//! Declaration of a setting. The table of all settings is in [`settings`](super::settings).

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use udp_shards::{Dispatch, InterfaceName};

use crate::config::forward::Forward;
use crate::config::options::Options;
use crate::logging::LogFormat;

/// A setting of the gateway. Its flag, environment variable, file key, line in `snapgate check`, row in
/// docs/CONFIGURATION.md and example are derived from this declaration.
#[derive(Clone, Copy)]
pub(crate) struct Setting {
    /// Key in the file. The flag has `-` for `_`, the environment variable is in capitals.
    pub(crate) name: &'static str,
    /// Heading in the help.
    pub(crate) group: &'static str,
    pub(crate) kind: Kind,
    /// One sentence for the help.
    help: &'static str,
    pub(crate) scope: Scope,
}

/// Condition under which a setting has an effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Scope {
    Always,
    /// In the forward mode `scion`.
    Scion,
    /// With the setting `control_plane`.
    ControlPlane,
}

/// Type of a setting's values, and the field that holds the value and its default.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Whole number from 1.
    Number(fn(&mut Options) -> &mut u64),
    /// Whole number from 1, of objects in memory.
    Count(fn(&mut Options) -> &mut usize),
    /// Whole seconds from `min`.
    Seconds {
        field: fn(&mut Options) -> &mut Duration,
        min: u64,
    },
    /// Bytes, from `min` to `max`, with or without a unit.
    Size {
        field: fn(&mut Options) -> &mut usize,
        min: usize,
        max: usize,
    },
    /// True or false. The field is set to `on` for true.
    Switch {
        field: fn(&mut Options) -> &mut bool,
        on: bool,
    },
    Forward(fn(&mut Options) -> &mut Forward<()>),
    Dispatch(fn(&mut Options) -> &mut Dispatch),
    /// Socket address to listen on, or none.
    Address {
        field: fn(&mut Options) -> &mut Option<SocketAddr>,
        /// Port in examples.
        port: u16,
    },
    /// Network interface, or none.
    Interface(fn(&mut Options) -> &mut Option<InterfaceName>),
    /// Text without spaces.
    Word {
        field: fn(&mut Options) -> &mut String,
        value_name: &'static str,
    },
    LogFilter(fn(&mut Options) -> &mut String),
    LogFormat(fn(&mut Options) -> &mut LogFormat),
    /// Values that `resolve` resolves together with other settings.
    Special {
        shape: Shape,
        value_name: &'static str,
        /// Default value as help text.
        default: &'static str,
        /// A value as TOML.
        example: &'static str,
    },
}

/// Syntax of the values of a setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Shape {
    /// String.
    Text,
    /// Integer.
    Number,
    /// Integer or string, such as `4` or `"auto"`, `65536` or `"64KiB"`.
    NumberOrText,
    /// `true` or `false`; the bare flag means `true`.
    Switch,
    /// Array of strings; a repeated flag; a comma-separated environment variable.
    List,
    /// Table of strings; a repeated flag `KEY=VALUE`; a comma-separated environment variable.
    Table,
}

impl Setting {
    pub(crate) const fn new(
        name: &'static str,
        group: &'static str,
        kind: Kind,
        help: &'static str,
    ) -> Self {
        Self {
            name,
            group,
            kind,
            help,
            scope: Scope::Always,
        }
    }

    /// Returns the setting, restricted to the forward mode `scion`.
    pub(crate) const fn for_scion(self) -> Self {
        Self {
            scope: Scope::Scion,
            ..self
        }
    }

    /// Returns the setting, restricted to gateways with a control plane.
    pub(crate) const fn for_control_plane(self) -> Self {
        Self {
            scope: Scope::ControlPlane,
            ..self
        }
    }

    /// Returns the flag without its dashes.
    pub(crate) fn flag(&self) -> String {
        self.name.replace('_', "-")
    }

    /// Returns the name of the environment variable.
    pub(crate) fn environment(&self) -> String {
        format!("SNAPGATE_{}", self.name.to_uppercase())
    }

    /// Returns the help text; that of the forward mode describes each mode.
    pub(crate) fn help(&self) -> String {
        match self.kind {
            Kind::Forward(_) => {
                let modes = Forward::MODES.map(|mode| format!("{}: {}", mode.name(), mode.help()));
                format!("{}; {}", self.help, modes.join("; "))
            }
            _ => self.help.to_owned(),
        }
    }

    /// Returns the default value as help text; empty if there is none.
    pub(crate) fn default(&self) -> String {
        match self.kind {
            Kind::Special { default, .. } => default.to_owned(),
            _ => match self.kind.value(&mut Options::default()) {
                (Value::Null, _) => "none".to_owned(),
                (_, Some(note)) => note,
                (Value::String(text), None) => text,
                (value, None) => value.to_string(),
            },
        }
    }

    /// Returns a line of the configuration file that sets it.
    pub(crate) fn example(&self) -> String {
        let value = match self.kind {
            Kind::Special { example, .. } => example.to_owned(),
            Kind::Address { port, .. } => format!("\"127.0.0.1:{port}\""),
            Kind::Interface(_) => "\"eth0\"".to_owned(),
            _ => match self.kind.value(&mut Options::default()) {
                (_, Some(note)) => format!("{note:?}"),
                (value, None) => value.to_string(),
            },
        };
        format!("{} = {value}", self.name)
    }
}

impl Kind {
    /// Returns the syntax of the values.
    pub(crate) const fn shape(&self) -> Shape {
        match self {
            Self::Number(_) | Self::Count(_) | Self::Seconds { .. } => Shape::Number,
            Self::Size { .. } => Shape::NumberOrText,
            Self::Switch { .. } => Shape::Switch,
            Self::Forward(_)
            | Self::Dispatch(_)
            | Self::Address { .. }
            | Self::Interface(_)
            | Self::Word { .. }
            | Self::LogFilter(_)
            | Self::LogFormat(_) => Shape::Text,
            Self::Special { shape, .. } => *shape,
        }
    }

    /// Returns the name of the value in the help.
    pub(crate) fn value_name(&self) -> String {
        match self {
            Self::Number(_) | Self::Count(_) | Self::Seconds { .. } => "N".to_owned(),
            Self::Size { .. } => "SIZE".to_owned(),
            Self::Switch { .. } => "true|false".to_owned(),
            Self::Forward(_) => Forward::MODES.map(|mode| mode.name()).join("|"),
            Self::Dispatch(_) => DISPATCHES.map(|kind| dispatch_name(&kind)).join("|"),
            Self::Address { .. } => "ADDRESS:PORT".to_owned(),
            Self::Interface(_) => "INTERFACE".to_owned(),
            Self::Word { value_name, .. } => (*value_name).to_owned(),
            Self::LogFilter(_) => "FILTER".to_owned(),
            Self::LogFormat(_) => LogFormat::ALL.map(|format| format.name()).join("|"),
            Self::Special { value_name, .. } => (*value_name).to_owned(),
        }
    }

    /// Returns true if the values are paths.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn names_a_file(&self) -> bool {
        matches!(
            self,
            Self::Special {
                value_name: "FILE" | "FILE|URL" | "DIR",
                ..
            }
        )
    }

    /// Returns the value in `options`, and its usual spelling if that differs.
    pub(crate) fn value(&self, options: &mut Options) -> (Value, Option<String>) {
        let value = match self {
            Self::Number(field) => (*field(options)).into(),
            Self::Count(field) => (*field(options)).into(),
            Self::Seconds { field, .. } => field(options).as_secs().into(),
            Self::Size { field, .. } => {
                let bytes = *field(options);
                return (bytes.into(), Some(format_size(bytes)));
            }
            Self::Switch { field, on } => (*field(options) == *on).into(),
            Self::Forward(field) => field(options).name().into(),
            Self::Dispatch(field) => dispatch_name(field(options)).into(),
            Self::Address { field, .. } => field(options).map(|address| address.to_string()).into(),
            Self::Interface(field) => field(options).map(|name| name.to_string()).into(),
            Self::Word { field, .. } | Self::LogFilter(field) => field(options).as_str().into(),
            Self::LogFormat(field) => field(options).name().into(),
            Self::Special { .. } => Value::Null,
        };
        (value, None)
    }
}

/// All kinds of dispatch.
pub(crate) const DISPATCHES: [Dispatch; 2] = [Dispatch::Kernel, Dispatch::User];

/// Returns the value of the setting `dispatch`.
pub(crate) const fn dispatch_name(dispatch: &Dispatch) -> &'static str {
    match dispatch {
        Dispatch::Kernel => "kernel",
        Dispatch::User => "user",
    }
}

/// Formats a size in the largest unit that divides it.
pub(crate) fn format_size(bytes: usize) -> String {
    for (unit, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if bytes != 0 && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

impl PartialEq for Setting {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Setting {}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Setting").field(&self.name).finish()
    }
}
