//! Ways of learning together, by name.

mod exchange;
mod privacy;
mod soup;

use shoal_shadow::document::{DocumentError, Table};
use shoal_swarm::privacy::Privacy;
use shoal_swarm::swarm::Conduct;
use shoal_wire::v1::{ConsensusRule, PaperRule};

use super::NightConfig;

pub use exchange::{Average, Cocktail, Coefficients, Evolution, Gossip, MeasuredOn, Server};
pub use soup::{Ensemble, EvoMerge, Fisher, Mean, Merge, ModelSwarms, RegMean, Soup};

/// Bytes of a method's name, at most: it names a folder.
pub(crate) const METHOD_NAME_MAX: usize = 64;

/// One way of learning together.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodConfig {
    /// Its name in tables and folders.
    pub name: String,
    /// What it does.
    pub rule: Rule,
    /// Whether the gates of the utility keep particles from being best.
    pub gates: bool,
    /// What a vehicle tunes where that is not as `[night]` says.
    pub night: Option<NightConfig>,
}

/// What a method does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Every vehicle learns alone.
    Local,
    /// One adapter is tuned on the roads of all vehicles, in as many steps as one vehicle takes: what nobody may do, the
    /// bound.
    Pooled,
    /// A server combines what vehicles tuned; all begin the next window from that.
    Average(Average),
    /// Everybody learns alone, and after every window the adapters of that moment are merged once, to look at.
    Soup(Soup),
    /// Everybody learns alone, and after the last window everybody has everybody's adapter: their predictions are mixed.
    Ensemble(Ensemble),
    /// As an average, of updates of which a part is sent.
    Cocktail(Cocktail),
    /// Pairs meet and mix; there is no server.
    Gossip(Gossip),
    /// Nobody trains: one position moves by what vehicles measure around it, told by seeds and utilities alone.
    Evolution(Evolution),
    /// Shoal's rule, by the vehicles' own cores.
    Consensus(Consensus),
    /// Coefficients of what was published, searched on the pack.
    Coefficients(Coefficients),
    /// Model Swarms, by the vehicles' own cores.
    Paper(PaperRule),
}

/// Shoal's rule, and who does what in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Consensus {
    /// Its numbers.
    pub rule: ConsensusRule,
    /// How many vehicles a window's nonce asks for a contribution.
    pub asked: u16,
    /// What vehicles settle by themselves.
    pub conduct: Conduct,
    /// Whether vehicles measure what others claim before they vote for it or move to it; if not, they believe it.
    pub measure: bool,
    /// How contributions are made private; `None`: they are not.
    pub privacy: Option<Privacy>,
}

/// The methods of a file: `[[methods]]`.
pub(super) fn read(
    root: &Table<'_>,
    (vehicles, windows): (u32, u32),
    night: NightConfig,
) -> Result<Vec<MethodConfig>, DocumentError> {
    let mut methods: Vec<MethodConfig> = Vec::new();
    for table in root.tables("methods", &Kind::all_keys())? {
        let method = MethodConfig::read(&table, (vehicles, windows), night)?;
        if matches!(method.rule, Rule::Average(Average { by_rank: true, .. }))
            && !root.has("hardware")
        {
            return Err(table.refuse(
                "by_rank",
                "without `[[hardware]]`",
                "classes of smaller rank",
            ));
        }
        if methods.iter().any(|other| other.name == method.name) {
            return Err(table.refuse("name", &method.name, "a name that no other method has"));
        }
        methods.push(method);
    }
    if methods.is_empty() { Err(root.missing("methods")) } else { Ok(methods) }
}

/// Keys that methods of every kind may have.
const OF_ALL: [&str; 3] = ["name", "kind", "night"];

/// Kinds by name, with the keys each may have besides those of all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Local,
    Pooled,
    Average,
    Soup,
    Ensemble,
    Cocktail,
    Gossip,
    Evolution,
    Consensus,
    Coefficients,
    Paper,
}

impl Kind {
    const NAMES: [(&'static str, Kind); 11] = [
        ("local", Kind::Local),
        ("pooled", Kind::Pooled),
        ("average", Kind::Average),
        ("soup", Kind::Soup),
        ("ensemble", Kind::Ensemble),
        ("cocktail", Kind::Cocktail),
        ("gossip", Kind::Gossip),
        ("es", Kind::Evolution),
        ("consensus", Kind::Consensus),
        ("coefficients", Kind::Coefficients),
        ("paper", Kind::Paper),
    ];

    /// Keys of any kind.
    fn all_keys() -> Vec<&'static str> {
        let of_kinds = Kind::NAMES.iter().flat_map(|(_, kind)| kind.keys());
        OF_ALL.iter().chain(of_kinds).copied().collect()
    }

    const fn keys(self) -> &'static [&'static str] {
        match self {
            Kind::Local | Kind::Pooled => &[],
            Kind::Average => exchange::AVERAGE_KEYS,
            Kind::Cocktail => exchange::COCKTAIL_KEYS,
            Kind::Gossip => exchange::GOSSIP_KEYS,
            Kind::Evolution => exchange::EVOLUTION_KEYS,
            Kind::Soup => soup::SOUP_KEYS,
            Kind::Ensemble => soup::ENSEMBLE_KEYS,
            Kind::Consensus => &[
                "inertia",
                "up_bits",
                "down_bits",
                "brake",
                "clip",
                "mean_last",
                "mix",
                "asked",
                "folders",
                "standby",
                "own_kept",
                "second_look",
                "line_search",
                "measure",
                "privacy",
                "gates",
            ],
            Kind::Coefficients => exchange::COEFFICIENTS_KEYS,
            Kind::Paper => &[
                "inertia",
                "cognitive",
                "social",
                "repel",
                "step_length",
                "step_length_decay",
                "step_length_min",
                "patience",
                "restart_patience",
                "gates",
            ],
        }
    }
}

impl MethodConfig {
    /// Whether its nights are pulled to where they begin: FedProx.
    pub(super) const fn pulls(&self) -> bool {
        matches!(self.rule, Rule::Average(Average { server: Server::Proximal { .. }, .. }))
    }

    /// Whether it asks for what a model of another kind than frames, or none, does not offer.
    pub(super) fn cannot(&self, frames: bool, trivial: bool) -> bool {
        (self.frames_alone() && !frames) || (self.night.is_some() && trivial)
    }

    /// Whether it mixes predictions of frames, or asks more of a night than tuners of other models offer.
    fn frames_alone(&self) -> bool {
        if self.night.is_some_and(|night| night.frames_alone()) {
            return true;
        }
        match &self.rule {
            Rule::Ensemble(_) => true,
            Rule::Soup(soup) => matches!(soup.merge, Merge::Fisher(_) | Merge::RegMean(_)),
            Rule::Average(_) => self.pulls(),
            Rule::Local
            | Rule::Pooled
            | Rule::Cocktail(_)
            | Rule::Gossip(_)
            | Rule::Evolution(_)
            | Rule::Consensus(_)
            | Rule::Coefficients(_)
            | Rule::Paper(_) => false,
        }
    }

    fn read(
        table: &Table<'_>,
        (vehicles, windows): (u32, u32),
        night: NightConfig,
    ) -> Result<Self, DocumentError> {
        let name = table.text_required("name")?;
        if name.len() > METHOD_NAME_MAX {
            let want = format!("at most {METHOD_NAME_MAX} bytes: it names a folder");
            return Err(table.refuse("name", format!("{} bytes", name.len()), &want));
        }
        if name.is_empty() || name.starts_with('.') || !name.chars().all(is_plain) {
            return Err(table.refuse(
                "name",
                name,
                "letters, digits, `-`, `_` and `.`: it names a folder",
            ));
        }
        let kind = table.choice("kind", &Kind::NAMES)?.ok_or_else(|| table.missing("kind"))?;
        let other = |key: &&str| !OF_ALL.contains(key) && !kind.keys().contains(key);
        if let Some(key) = Kind::all_keys().into_iter().filter(other).find(|key| table.has(key)) {
            let want = format!("keys of this kind: {}", kind.keys().join(", "));
            return Err(table.refuse(key, "a key of another kind", &want));
        }
        let rule = match kind {
            Kind::Local => Rule::Local,
            Kind::Pooled => Rule::Pooled,
            Kind::Average => Rule::Average(exchange::average(table, vehicles)?),
            Kind::Soup => Rule::Soup(soup::soup(table, (vehicles, windows))?),
            Kind::Ensemble => Rule::Ensemble(soup::ensemble(table)?),
            Kind::Cocktail => Rule::Cocktail(exchange::cocktail(table)?),
            Kind::Gossip => Rule::Gossip(exchange::gossip(table)?),
            Kind::Evolution => Rule::Evolution(exchange::evolution(table)?),
            Kind::Consensus => Rule::Consensus(consensus(table)?),
            Kind::Coefficients => Rule::Coefficients(exchange::coefficients(table)?),
            Kind::Paper => Rule::Paper(paper(table)?),
        };
        let gates = table.boolean("gates")?.unwrap_or(true);
        let own = table.has("night").then(|| night.of(table)).transpose()?;
        let method = MethodConfig { name: name.into(), rule, gates, night: own };
        match own {
            Some(own) if own.ewc > 0.0 && method.pulls() => {
                let want = "night.ewc = 0 beside `fedprox`: a night has one pull";
                Err(table.refuse("night", "ewc", want))
            }
            Some(_) | None => Ok(method),
        }
    }
}

/// Whether a method's name may have this character.
pub(crate) fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-_.".contains(c)
}

/// A key that another server, merge or the like has, and this one would pass over.
fn of_another(table: &Table<'_>, key: &str, what: &str, own: &[&str]) -> DocumentError {
    let own = if own.is_empty() { "none".to_owned() } else { own.join(", ") };
    table.refuse(key, format!("a key of another {what}"), &format!("keys of this {what}: {own}"))
}

fn bits(table: &Table<'_>, key: &str, usual: u8, most: u8) -> Result<u8, DocumentError> {
    let Some(bits) = table.integer(key, 1..=32)? else { return Ok(usual) };
    let bits = bits as u8;
    if bits > 8 && (bits != 32 || most < 32) {
        let want = if most < 32 { "1 to 8" } else { "1 to 8, or 32: not coded" };
        return Err(table.refuse(key, bits, want));
    }
    Ok(bits)
}

fn consensus(table: &Table<'_>) -> Result<Consensus, DocumentError> {
    let number = |key, range, usual: f32| Ok(table.number(key, range)?.map_or(usual, |n| n as f32));
    let usual = ConsensusRule::USUAL;
    let rule = ConsensusRule {
        inertia: number("inertia", 0.0..=0.99, usual.inertia)?,
        up_bits: bits(table, "up_bits", usual.up_bits, 8)?,
        down_bits: bits(table, "down_bits", usual.down_bits, 8)?,
        brake: number("brake", 0.0..=1.0, usual.brake)?,
        clip: table.boolean("clip")?.unwrap_or(usual.clip),
        mean_last: table.integer("mean_last", 1..=8)?.map_or(usual.mean_last, |n| n as u8),
        mix: table.boolean("mix")?.unwrap_or(usual.mix),
    };
    let usual = Conduct::default();
    let conduct = Conduct {
        folders: table.integer("folders", 1..=64)?.map_or(usual.folders, |n| n as usize),
        standby: table.integer("standby", 0..=64)?.map_or(usual.standby, |n| n as usize),
        own_kept: number("own_kept", 0.0..=0.99, usual.own_kept)?,
        second_look: table.boolean("second_look")?.unwrap_or(usual.second_look),
        line_search: table.boolean("line_search")?.unwrap_or(usual.line_search),
        // A simulation looks at it by itself.
        measures_staged: false,
    };
    let asked = table.integer("asked", 1..=64)?.map_or(16, |n| n as u16);
    let measure = table.boolean("measure")?.unwrap_or(true);
    let privacy = privacy::read(table)?;
    Ok(Consensus { rule, asked, conduct, measure, privacy })
}

fn paper(table: &Table<'_>) -> Result<PaperRule, DocumentError> {
    let number = |key, usual: f32| Ok(table.number(key, 0.0..=1.0)?.map_or(usual, |n| n as f32));
    let windows = |key, usual| Ok(table.integer(key, 1..=100)?.map_or(usual, |n| n as u16));
    let usual = PaperRule::USUAL;
    let rule = PaperRule {
        inertia: number("inertia", usual.inertia)?,
        cognitive: number("cognitive", usual.cognitive)?,
        social: number("social", usual.social)?,
        repel: number("repel", usual.repel)?,
        step_length: number("step_length", usual.step_length)?,
        step_length_decay: number("step_length_decay", usual.step_length_decay)?,
        step_length_min: number("step_length_min", usual.step_length_min)?,
        patience: windows("patience", usual.patience)?,
        restart_patience: windows("restart_patience", usual.restart_patience)?,
    };
    let weights = [rule.inertia, rule.cognitive, rule.social, rule.repel];
    if weights.iter().all(|weight| *weight == 0.0) {
        return Err(table.refuse(
            "inertia",
            0,
            "one of `inertia`, `cognitive`, `social` and `repel` above 0",
        ));
    }
    for (key, value) in
        [("step_length", rule.step_length), ("step_length_decay", rule.step_length_decay)]
    {
        if value == 0.0 {
            return Err(table.refuse(key, value, "above 0, to 1"));
        }
    }
    if rule.step_length_min > rule.step_length {
        let want = format!("0 to {}, which is `step_length`", rule.step_length);
        return Err(table.refuse("step_length_min", rule.step_length_min, &want));
    }
    Ok(rule)
}
