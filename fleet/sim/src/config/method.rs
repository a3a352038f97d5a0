//! Ways of learning together, by name.

use shoal_shadow::document::{DocumentError, Table};
use shoal_swarm::swarm::Conduct;
use shoal_wire::v1::{ConsensusRule, PaperRule};

/// One way of learning together.
#[derive(Clone, Debug, PartialEq)]
pub struct MethodConfig {
    /// Its name in tables and folders.
    pub name: String,
    /// What it does.
    pub rule: Rule,
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
    /// Shoal's rule, by the vehicles' own cores.
    Consensus(Consensus),
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
}

/// A server and what goes to it and back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Average {
    /// How it combines displacements.
    pub server: Server,
    /// Bits a value of what a vehicle sends; 32: as they are.
    pub up_bits: u8,
    /// Bits a value of what it receives.
    pub down_bits: u8,
    /// Whether what coding lost is added to what is coded next.
    pub feedback: bool,
    /// The fleet is given the mean of so many last adapters: 1 to 8.
    pub mean_last: u8,
    /// Whether the mean of those that have a row stands for the row of a vehicle whose rank has none.
    pub by_rank: bool,
}

/// How displacements become a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Server {
    /// Their mean, times `rate` (FedAvg: 1).
    Mean {
        /// Step size.
        rate: f64,
    },
    /// DiLoCo: Nesterov's momentum on their mean.
    Momentum {
        /// Outer step size.
        rate: f64,
        /// Outer momentum.
        momentum: f64,
    },
    /// FedAdam.
    Adam {
        /// Step size.
        rate: f64,
        /// Decay of the mean.
        beta1: f64,
        /// Decay of the squares.
        beta2: f64,
        /// Added to the root.
        epsilon: f64,
    },
    /// The median of each coordinate.
    Median,
    /// The mean of each coordinate without this share at both ends.
    Trimmed {
        /// Share left out at each end, below ½.
        trim: f64,
    },
    /// The displacement whose neighbours are nearest.
    Krum {
        /// How many may lie.
        liars: u32,
    },
}

/// A merge of whole adapters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Soup {
    /// Which.
    pub merge: Merge,
    /// Share of entries that are kept (TIES, DARE).
    pub density: f64,
    /// Times the merged difference.
    pub scale: f64,
    /// Evaluations of the pack that a search may take, beside one a vehicle: it is run once, after the last window.
    pub budget: usize,
}

/// Merges by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of the methods; shoal-soup says what they are")]
pub enum Merge {
    Uniform,
    TaskArithmetic,
    Greedy,
    Slerp,
    Ties,
    Dare,
    DareTies,
    ModelStock,
    Learned,
    RandomAffine,
    CmaAffine,
    CmaFree,
}

/// The methods of a file: `[[methods]]`.
pub(super) fn read(root: &Table<'_>, vehicles: u32) -> Result<Vec<MethodConfig>, DocumentError> {
    let mut methods: Vec<MethodConfig> = Vec::new();
    for table in root.tables("methods", &Kind::all_keys())? {
        let method = MethodConfig::read(&table, vehicles)?;
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

/// Kinds by name, with the keys each may have besides `name` and `kind`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Local,
    Pooled,
    Average,
    Soup,
    Consensus,
    Paper,
}

impl Kind {
    const NAMES: [(&'static str, Kind); 6] = [
        ("local", Kind::Local),
        ("pooled", Kind::Pooled),
        ("average", Kind::Average),
        ("soup", Kind::Soup),
        ("consensus", Kind::Consensus),
        ("paper", Kind::Paper),
    ];

    /// Keys of any kind.
    fn all_keys() -> Vec<&'static str> {
        let of_kinds = Kind::NAMES.iter().flat_map(|(_, kind)| kind.keys());
        ["name", "kind"].iter().chain(of_kinds).copied().collect()
    }

    const fn keys(self) -> &'static [&'static str] {
        match self {
            Kind::Local | Kind::Pooled => &[],
            Kind::Average => &[
                "server",
                "rate",
                "momentum",
                "beta1",
                "beta2",
                "epsilon",
                "trim",
                "liars",
                "up_bits",
                "down_bits",
                "feedback",
                "mean_last",
                "by_rank",
            ],
            Kind::Soup => &["merge", "density", "scale", "budget", "budget"],
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
                "own_kept",
                "tolerance",
                "measure",
            ],
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
            ],
        }
    }
}

impl MethodConfig {
    fn read(table: &Table<'_>, vehicles: u32) -> Result<Self, DocumentError> {
        let name = table.text_required("name")?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.chars().all(plain) {
            return Err(table.refuse(
                "name",
                name,
                "letters, digits, `-`, `_` and `.`: it names a folder",
            ));
        }
        let kind = table.choice("kind", &Kind::NAMES)?.ok_or_else(|| table.missing("kind"))?;
        let other = |key: &&str| !matches!(*key, "name" | "kind") && !kind.keys().contains(key);
        if let Some(key) = Kind::all_keys().into_iter().filter(other).find(|key| table.has(key)) {
            let want = format!("keys of this kind: {}", kind.keys().join(", "));
            return Err(table.refuse(key, "a key of another kind", &want));
        }
        let rule = match kind {
            Kind::Local => Rule::Local,
            Kind::Pooled => Rule::Pooled,
            Kind::Average => Rule::Average(average(table, vehicles)?),
            Kind::Soup => Rule::Soup(soup(table)?),
            Kind::Consensus => Rule::Consensus(consensus(table)?),
            Kind::Paper => Rule::Paper(paper(table)?),
        };
        Ok(MethodConfig { name: name.into(), rule })
    }
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

fn average(table: &Table<'_>, vehicles: u32) -> Result<Average, DocumentError> {
    #[derive(Clone, Copy, PartialEq, Eq)]
    enum Name {
        Mean,
        Momentum,
        Adam,
        Median,
        Trimmed,
        Krum,
    }
    let names = [
        ("mean", Name::Mean),
        ("momentum", Name::Momentum),
        ("adam", Name::Adam),
        ("median", Name::Median),
        ("trimmed", Name::Trimmed),
        ("krum", Name::Krum),
    ];
    let number = |key, range, usual: f64| Ok(table.number(key, range)?.unwrap_or(usual));
    let server = match table.choice("server", &names)?.unwrap_or(Name::Mean) {
        Name::Mean => Server::Mean { rate: number("rate", 0.0..=10.0, 1.0)? },
        // Of DiLoCo's table; the rate is for displacements of adapters, which are small.
        Name::Momentum => Server::Momentum {
            rate: number("rate", 0.0..=10.0, 0.7)?,
            momentum: number("momentum", 0.0..=0.999, 0.9)?,
        },
        Name::Adam => Server::Adam {
            rate: number("rate", 0.0..=10.0, 1e-2)?,
            beta1: number("beta1", 0.0..=0.999, 0.9)?,
            beta2: number("beta2", 0.0..=0.9999, 0.99)?,
            epsilon: number("epsilon", 1e-12..=1.0, 1e-3)?,
        },
        Name::Median => Server::Median,
        Name::Trimmed => Server::Trimmed { trim: number("trim", 0.0..=0.49, 0.2)? },
        Name::Krum => {
            let liars = table.integer("liars", 0..=32)?.unwrap_or(1) as u32;
            if vehicles < 2 * liars + 3 {
                let want = format!(
                    "at most {}: Krum needs 2 f + 3 vehicles",
                    vehicles.saturating_sub(3) / 2
                );
                return Err(table.refuse("liars", liars, &want));
            }
            Server::Krum { liars }
        }
    };
    Ok(Average {
        server,
        up_bits: bits(table, "up_bits", 32, 32)?,
        down_bits: bits(table, "down_bits", 32, 32)?,
        feedback: table.boolean("feedback")?.unwrap_or(true),
        mean_last: table.integer("mean_last", 1..=8)?.map_or(1, |n| n as u8),
        by_rank: table.boolean("by_rank")?.unwrap_or(false),
    })
}

fn soup(table: &Table<'_>) -> Result<Soup, DocumentError> {
    let names = [
        ("uniform", Merge::Uniform),
        ("task_arithmetic", Merge::TaskArithmetic),
        ("learned", Merge::Learned),
        ("random_affine", Merge::RandomAffine),
        ("cma_affine", Merge::CmaAffine),
        ("cma_free", Merge::CmaFree),
        ("greedy", Merge::Greedy),
        ("slerp", Merge::Slerp),
        ("ties", Merge::Ties),
        ("dare", Merge::Dare),
        ("dare_ties", Merge::DareTies),
        ("model_stock", Merge::ModelStock),
    ];
    Ok(Soup {
        merge: table.choice("merge", &names)?.ok_or_else(|| table.missing("merge"))?,
        density: table.number("density", 0.01..=1.0)?.unwrap_or(0.2),
        scale: table.number("scale", 0.0..=10.0)?.unwrap_or(1.0),
        budget: table.integer("budget", 1..=100_000)?.map_or(40, |n| n as usize),
    })
}

fn consensus(table: &Table<'_>) -> Result<Consensus, DocumentError> {
    let number = |key, range, usual: f32| Ok(table.number(key, range)?.map_or(usual, |n| n as f32));
    let rule = ConsensusRule {
        inertia: number("inertia", 0.0..=0.99, 0.5)?,
        up_bits: bits(table, "up_bits", 2, 8)?,
        down_bits: bits(table, "down_bits", 6, 8)?,
        brake: number("brake", 0.0..=1.0, 0.01)?,
        clip: table.boolean("clip")?.unwrap_or(true),
        mean_last: table.integer("mean_last", 1..=8)?.map_or(5, |n| n as u8),
        mix: table.boolean("mix")?.unwrap_or(true),
    };
    let usual = Conduct::default();
    let conduct = Conduct {
        folders: table.integer("folders", 1..=64)?.map_or(usual.folders, |n| n as usize),
        own_kept: number("own_kept", 0.0..=0.99, usual.own_kept)?,
        tolerance: table.number("tolerance", 0.0..=10.0)?.unwrap_or(usual.tolerance),
    };
    let asked = table.integer("asked", 1..=64)?.map_or(16, |n| n as u16);
    let measure = table.boolean("measure")?.unwrap_or(true);
    Ok(Consensus { rule, asked, conduct, measure })
}

fn paper(table: &Table<'_>) -> Result<PaperRule, DocumentError> {
    let number = |key, usual: f32| Ok(table.number(key, 0.0..=1.0)?.map_or(usual, |n| n as f32));
    let windows = |key, usual| Ok(table.integer(key, 1..=100)?.map_or(usual, |n| n as u16));
    // The middle of the grids that Model Swarms draws its numbers from.
    Ok(PaperRule {
        inertia: number("inertia", 0.2)?,
        cognitive: number("cognitive", 0.3)?,
        social: number("social", 0.4)?,
        repel: number("repel", 0.05)?,
        step_length: number("step_length", 0.8)?,
        step_length_decay: number("step_length_decay", 0.95)?,
        step_length_min: number("step_length_min", 0.1)?,
        patience: windows("patience", 10)?,
        restart_patience: windows("restart_patience", 7)?,
    })
}
