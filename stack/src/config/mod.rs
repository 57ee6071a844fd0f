//! The configuration: TOML or flags, checked once, then private fields with getters.
//!
//! Every setting stands in one line of `sections.rs`, with its documentation, default and bounds; reading, checking
//! and showing walk over that list.

mod cidr;
mod error;
mod machine;
mod reader;
mod rules;
mod section;
mod sections;
mod setting;

pub use cidr::Cidr;
pub use error::{ConfigError, Place};
pub use machine::{HugePages, Priority};
pub use sections::{
    Control, Cores, Drop, Impair, Impairment, Interface, Limits, Memory, Mode, Privileges, Sharing, SocketsPerQueue,
    Steering, Strategy, Tcp, Waiting,
};
pub use setting::Rule;

pub(crate) use rules::{largest_mtu, mtu_remedy};

use reader::{Places, each_field};
use setting::Field;
use std::fmt::Write as _;
use std::path::Path;

/// Interfaces that one stack serves at most.
pub const MAX_INTERFACES: usize = 16;

/// The name of the table of interface `at`, as errors and [`Builder::set`] say it.
pub(crate) fn interface_key(at: usize) -> String {
    if at == 0 { "interface".into() } else { format!("interface[{at}]") }
}

/// Everything that can be set. [`Config::load`] and [`Config::builder`] are the ways to one, and check the same rules.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Config {
    interface: Interface,
    /// More interfaces than the first.
    others: Vec<Interface>,
    cores: Cores,
    privileges: Privileges,
    waiting: Waiting,
    steering: Steering,
    control: Control,
    memory: Memory,
    limits: Limits,
    tcp: Tcp,
    impair: Impair,
    impair_rx: Impairment,
    impair_tx: Impairment,
}

impl Config {
    /// Reads and checks the file at `path`.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Builder::from_file(path)?.build()
    }

    /// Reads and checks TOML.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Builder::from_toml(text)?.build()
    }

    /// A configuration made in code, or from flags; all defaults to begin with.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// This configuration, to be changed and checked again.
    pub fn into_builder(self) -> Builder {
        Builder { config: self, places: Places::new(), file: None, wrong: None }
    }

    /// Which interface and queues, and who the stack is there: of several, the first.
    pub const fn interface(&self) -> &Interface {
        &self.interface
    }

    /// Every interface, in the order of the configuration: at least one, and at most [`MAX_INTERFACES`].
    pub fn interfaces(&self) -> impl ExactSizeIterator<Item = &Interface> {
        let all = 1 + self.others.len();
        (0..all).map(|at| at.checked_sub(1).map_or(&self.interface, |at| &self.others[at]))
    }

    /// The same configuration for each of its interfaces as if it were the only one.
    pub fn each_alone(&self) -> Vec<Self> {
        let alone = |interface: &Interface| Self { interface: interface.clone(), others: Vec::new(), ..self.clone() };
        self.interfaces().map(alone).collect()
    }

    /// Which cores the workers run on.
    pub const fn cores(&self) -> &Cores {
        &self.cores
    }

    /// What is given up once everything is set up.
    pub const fn privileges(&self) -> &Privileges {
        &self.privileges
    }

    /// How many workers the configuration asks for; `None` when the machine decides.
    pub fn workers(&self) -> Option<usize> {
        let listed = Some(self.cores.list().len()).filter(|count| *count > 0);
        self.cores.workers().map(|workers| workers as usize).or(listed)
    }

    /// What a worker does when there is nothing to do.
    pub const fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// Which worker owns which flow.
    pub const fn steering(&self) -> &Steering {
        &self.steering
    }

    /// How the running stack is steered from outside.
    pub const fn control(&self) -> &Control {
        &self.control
    }

    /// Frames and rings.
    pub const fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The bounds of one worker.
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// TCP.
    pub const fn tcp(&self) -> &Tcp {
        &self.tcp
    }

    /// What the two impairments share.
    pub const fn impair(&self) -> &Impair {
        &self.impair
    }

    /// Impairment of received frames.
    pub const fn impair_rx(&self) -> &Impairment {
        &self.impair_rx
    }

    /// Impairment of sent frames.
    pub const fn impair_tx(&self) -> &Impairment {
        &self.impair_tx
    }

    /// The configuration as TOML, every setting in it, each under its documentation and bounds. Reading it gives the
    /// same configuration.
    pub fn to_commented_toml(&self) -> String {
        let mut out = String::new();
        let mut section = String::new();
        let is_list = !self.others.is_empty();
        each_field(&mut self.clone(), |field| {
            // Writing to a String cannot fail.
            let _ = show_field(&mut out, &mut section, &field, is_list);
        });
        out
    }

    /// The configuration as a table of tables; settings that are not set are not in it.
    pub fn to_table(&self) -> toml::Table {
        let mut root = toml::Table::new();
        let mut interfaces = vec![toml::Table::new(); 1 + self.others.len()];
        each_field(&mut self.clone(), |field| {
            let mut table = &mut root;
            if let Some(at) = reader::interface_of(field.section) {
                if let (Some(value), Some(table)) = (field.value.show(), interfaces.get_mut(at)) {
                    table.insert(field.key.into(), value);
                }
                return;
            }
            for name in field.section.split('.') {
                let inner = table.entry(name).or_insert_with(|| toml::Value::Table(toml::Table::new()));
                let toml::Value::Table(inner) = inner else { return };
                table = inner;
            }
            if let Some(value) = field.value.show() {
                table.insert(field.key.into(), value);
            }
        });
        let mut tables: Vec<_> = interfaces.into_iter().map(toml::Value::Table).collect();
        let value = if tables.len() == 1 { tables.remove(0) } else { toml::Value::Array(tables) };
        root.insert("interface".into(), value);
        root
    }

    /// Shows each field to `visit`, in the order in which they are listed, until it fails.
    fn walk<E>(&mut self, visit: &mut dyn FnMut(Field<'_>) -> Result<(), E>) -> Result<(), E> {
        let Self {
            interface,
            others,
            cores,
            privileges,
            waiting,
            steering,
            control,
            memory,
            limits,
            tcp,
            impair,
            impair_rx,
            impair_tx,
        } = self;
        interface.walk("interface", visit)?;
        for (at, other) in (1..).zip(others) {
            other.walk(&interface_key(at), visit)?;
        }
        cores.walk("cores", visit)?;
        privileges.walk("privileges", visit)?;
        waiting.walk("waiting", visit)?;
        steering.walk("steering", visit)?;
        control.walk("control", visit)?;
        memory.walk("memory", visit)?;
        limits.walk("limits", visit)?;
        tcp.walk("tcp", visit)?;
        impair.walk("impair", visit)?;
        impair_rx.walk("impair.rx", visit)?;
        impair_tx.walk("impair.tx", visit)
    }
}

impl serde::Serialize for Config {
    /// The same as [`to_table`](Self::to_table).
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_table().serialize(serializer)
    }
}

/// One setting of [`Config::to_commented_toml`].
fn show_field(out: &mut String, section: &mut String, field: &Field<'_>, is_list: bool) -> std::fmt::Result {
    if *section != field.section {
        let gap = if out.is_empty() { "" } else { "\n" };
        match reader::interface_of(field.section) {
            Some(_) if is_list => writeln!(out, "{gap}[[interface]]")?,
            _ => writeln!(out, "{gap}[{}]", field.section)?,
        }
        field.section.clone_into(section);
    }
    for line in field.doc {
        writeln!(out, "#{line}")?;
    }
    let words = field.rule.words();
    let bounds = if words.is_empty() { field.kind.clone() } else { format!("{}, {words}", field.kind) };
    match field.value.show() {
        Some(value) => writeln!(out, "# ({bounds})\n{} = {value}", field.key),
        None => writeln!(out, "# ({bounds}; not set)\n# {} =", field.key),
    }
}

/// Makes a [`Config`] step by step. What is wrong is told by [`build`](Self::build), the first error first.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    config: Config,
    places: Places,
    file: Option<std::path::PathBuf>,
    wrong: Option<ConfigError>,
}

impl Builder {
    /// Starts from the file at `path`, so that flags can be laid over it.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigError::of_file(path, format!("the file cannot be read ({error}): give the path of a TOML file"))
        })?;
        let builder = Self::from_toml(&text).map_err(|error| error.in_file(path))?;
        Ok(Self { file: Some(path.into()), ..builder })
    }

    /// Starts from TOML.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let (config, places) = reader::read(text)?;
        Ok(Self { config, places, file: None, wrong: None })
    }

    /// Sets one setting by its dotted name, as in `set("tcp.rto_min_ms", 10)` or `set("interface.queues", vec![0, 1])`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<toml::Value>) -> Self {
        if let Err(error) = reader::assign(&mut self.config, key, &value.into()) {
            self.wrong.get_or_insert(error);
        }
        // What is set here has no place in the file any more.
        self.places.remove(key);
        self
    }

    /// Sets one setting unless the file that this started from names it: a program's own default.
    #[must_use]
    pub fn set_default(self, key: &str, value: impl Into<toml::Value>) -> Self {
        if self.places.contains_key(key) { self } else { self.set(key, value) }
    }

    /// Sets one setting from text such as `tcp.rto_min_ms=10`, the way a flag gives it. A value that is not TOML is
    /// taken as a string, so that strings need no quotes.
    #[must_use]
    pub fn set_text(mut self, assignment: &str) -> Self {
        let Some((key, text)) = assignment.split_once('=') else {
            let message = format!("\"{assignment}\" has no \"=\": write it as KEY=VALUE");
            self.wrong.get_or_insert(ConfigError::of_syntax(None, message));
            return self;
        };
        let parsed = format!("v = {text}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("v"));
        self.set(key.trim(), parsed.unwrap_or_else(|| toml::Value::String(text.trim().into())))
    }

    /// The interface; of several, the first.
    #[must_use]
    pub fn interface(self, name: &str) -> Self {
        self.set("interface.name", name)
    }

    /// One more interface. What is said of an interface after this ([`address`](Self::address), [`queues`](Self::queues),
    /// [`mode`](Self::mode), [`sharing`](Self::sharing), [`reserve_ports`](Self::reserve_ports)) is of this one; by `set`
    /// its settings are called `interface[1].mode` and so on, counted from 0.
    #[must_use]
    pub fn another_interface(self, name: &str) -> Self {
        let key = format!("{}.name", interface_key(self.config.others.len() + 1));
        self.set(&key, name)
    }

    /// The interface that was named last.
    fn last(&self) -> &Interface {
        self.config.others.last().unwrap_or(&self.config.interface)
    }

    fn set_last(self, key: &str, value: impl Into<toml::Value>) -> Self {
        let key = format!("{}.{key}", interface_key(self.config.others.len()));
        self.set(&key, value)
    }

    /// One more address, such as `10.0.0.2/24`.
    #[must_use]
    pub fn address(mut self, cidr: &str) -> Self {
        let mut all = self.last().address().iter().map(ToString::to_string).collect::<Vec<_>>();
        all.push(cidr.into());
        self = self.set_last("address", all);
        self
    }

    /// Whether any address is set.
    pub fn has_address(&self) -> bool {
        self.config.interfaces().any(|interface| !interface.address().is_empty())
    }

    /// Whose the addresses are.
    #[must_use]
    pub fn sharing(self, sharing: Sharing) -> Self {
        self.set_last("sharing", sharing.to_string())
    }

    /// Whether the ports of outgoing connections are reserved with the kernel.
    #[must_use]
    pub fn reserve_ports(self, reserve: bool) -> Self {
        self.set_last("reserve_ports", reserve)
    }

    /// The queues to serve.
    #[must_use]
    pub fn queues(self, queues: &[u32]) -> Self {
        self.set_last("queues", queues.iter().map(|queue| i64::from(*queue)).collect::<Vec<_>>())
    }

    /// The cores to run on.
    #[must_use]
    pub fn cores(self, cores: &[usize]) -> Self {
        let list = cores.iter().map(|core| i64::try_from(*core).unwrap_or(i64::MAX)).collect::<Vec<_>>();
        self.set("cores.list", list)
    }

    /// How the sockets and the program are attached.
    #[must_use]
    pub fn mode(self, mode: Mode) -> Self {
        self.set_last("mode", mode.to_string())
    }

    /// What the workers do when there is nothing to do.
    #[must_use]
    pub fn waiting(self, strategy: Strategy) -> Self {
        self.set("waiting.strategy", strategy.to_string())
    }

    /// Checks the settings together.
    pub fn build(self) -> Result<Config, ConfigError> {
        let Self { mut config, places, file, wrong } = self;
        if let Some(error) = wrong {
            return Err(error);
        }
        let bounds = config.walk(&mut |field| {
            let key = format!("{}.{}", field.section, field.key);
            field.value.verify(field.rule).map_err(|wrong| ConfigError::of_key(key, wrong))
        });
        bounds.and_then(|()| rules::check(&config)).map_err(|error| {
            let place = error.key().and_then(|key| places.get(key)).copied();
            match (&file, place) {
                (Some(file), Some(place)) => error.at(Some(place)).in_file(file),
                (None, Some(place)) => error.at(Some(place)),
                (_, None) => error,
            }
        })?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests;
