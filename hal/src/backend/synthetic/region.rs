//! The regions: one row of a table each, ranges from which the parameters of a scene are drawn.

/// What stands or lies beside a road.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// Grass and fields, single trees, a tree line far off.
    Open,
    /// Dense trees close to the road.
    Forest,
    /// Hedges, bushes, groups of trees.
    Hedge,
    /// Gardens, fences, houses.
    Suburb,
    /// House fronts, parked cars, lamp posts.
    City,
    /// A slope of rock or earth.
    Rock,
    /// A slope with grass, bushes and trees on it.
    Slope,
    /// A noise barrier or a wall.
    Barrier,
    /// Sand, stones, shrubs.
    Desert,
    /// Flat water behind a rail.
    Water,
    /// Walls without gaps and a ceiling with lamps.
    Tunnel,
    /// A hall: boards at the track, furniture and people behind.
    Hall,
}

/// What the sky is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sky {
    /// Blue, few clouds.
    Clear,
    /// Blue with many clouds.
    Broken,
    /// Gray, no shadows.
    Overcast,
    /// White: brighter than the camera can show.
    White,
    /// Low sun: orange above the horizon, dark ground.
    Dusk,
    /// Black; head lamps and street lamps.
    Night,
}

/// Ranges of one region; lengths in m, times in s, angles in degrees.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profile {
    pub(super) name: &'static str,
    /// Metres of one unit of the scene: 1 on roads, 0.1 on a track for small cars.
    pub(super) scale: f32,
    pub(super) speed_m_s: (f32, f32),
    /// Greatest curvature (1/m) and how long a curve is.
    pub(super) curvature: (f32, f32),
    pub(super) curve_m: (f32, f32),
    /// Greatest slope, as rise over run.
    pub(super) grade: (f32, f32),
    pub(super) lanes: (u32, u32),
    pub(super) lane_m: (f32, f32),
    /// Probability that the directions are apart.
    pub(super) divided: f32,
    /// Probability that lanes are marked.
    pub(super) marked: f32,
    pub(super) sides: &'static [Side],
    pub(super) skies: &'static [Sky],
    /// Distance at which haze hides two thirds of a colour.
    pub(super) haze_m: (f32, f32),
    /// Vehicles per km and lane.
    pub(super) traffic_per_km: (f32, f32),
    pub(super) camera_m: (f32, f32),
    /// Standard deviation of the camera's pitch by bumps, degrees.
    pub(super) shake_deg: (f32, f32),
    /// 0 dry … 1 pouring; 0 none … 1 white.
    pub(super) rain: f32,
    pub(super) snow: f32,
    pub(super) left_hand: bool,
}

/// A kind of road, with its landscape, weather, light and traffic.
///
/// The order is part of every road's identity: a further region goes at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it; the table has the figures")]
pub enum Region {
    Highway,
    Autobahn,
    Rural,
    Forest,
    City,
    Suburb,
    Mountain,
    Desert,
    Coast,
    Haze,
    Dusk,
    Rain,
    Tunnel,
    RcTrack,
    Night,
    Snow,
    LeftHand,
    TightCurves,
    DenseTraffic,
}

impl Region {
    /// Every region.
    pub const ALL: [Self; 19] = [
        Self::Highway,
        Self::Autobahn,
        Self::Rural,
        Self::Forest,
        Self::City,
        Self::Suburb,
        Self::Mountain,
        Self::Desert,
        Self::Coast,
        Self::Haze,
        Self::Dusk,
        Self::Rain,
        Self::Tunnel,
        Self::RcTrack,
        Self::Night,
        Self::Snow,
        Self::LeftHand,
        Self::TightCurves,
        Self::DenseTraffic,
    ];

    /// Its name in file names and on command lines, as `left_hand`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.profile().name
    }

    /// The region of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|region| region.name() == name)
    }

    pub(super) const fn profile(self) -> &'static Profile {
        match self {
            Self::Highway => &HIGHWAY,
            Self::Autobahn => &AUTOBAHN,
            Self::Rural => &RURAL,
            Self::Forest => &FOREST,
            Self::City => &CITY,
            Self::Suburb => &SUBURB,
            Self::Mountain => &MOUNTAIN,
            Self::Desert => &DESERT,
            Self::Coast => &COAST,
            Self::Haze => &HAZE,
            Self::Dusk => &DUSK,
            Self::Rain => &RAIN,
            Self::Tunnel => &TUNNEL,
            Self::RcTrack => &RC_TRACK,
            Self::Night => &NIGHT,
            Self::Snow => &SNOW,
            Self::LeftHand => &LEFT_HAND,
            Self::TightCurves => &TIGHT_CURVES,
            Self::DenseTraffic => &DENSE_TRAFFIC,
        }
    }
}

const DAY: &[Sky] = &[Sky::Clear, Sky::Clear, Sky::Broken, Sky::Overcast, Sky::White];

const HIGHWAY: Profile = Profile {
    name: "highway",
    scale: 1.0,
    speed_m_s: (18.0, 34.0),
    curvature: (0.0, 0.0016),
    curve_m: (150.0, 500.0),
    grade: (0.0, 0.03),
    lanes: (2, 5),
    lane_m: (3.4, 3.8),
    divided: 0.9,
    marked: 1.0,
    sides: &[Side::Open, Side::Hedge, Side::Slope, Side::Barrier, Side::Forest, Side::Desert],
    skies: DAY,
    haze_m: (800.0, 6_000.0),
    traffic_per_km: (3.0, 18.0),
    camera_m: (1.15, 2.2),
    shake_deg: (0.012, 0.14),
    rain: 0.0,
    snow: 0.0,
    left_hand: false,
};

const AUTOBAHN: Profile = Profile {
    name: "autobahn",
    speed_m_s: (25.0, 45.0),
    lanes: (2, 3),
    divided: 1.0,
    sides: &[Side::Forest, Side::Hedge, Side::Slope, Side::Barrier],
    ..HIGHWAY
};

const RURAL: Profile = Profile {
    name: "rural",
    speed_m_s: (10.0, 27.0),
    curvature: (0.0005, 0.006),
    curve_m: (60.0, 250.0),
    grade: (0.0, 0.05),
    lanes: (1, 1),
    lane_m: (2.7, 3.6),
    divided: 0.0,
    marked: 0.8,
    sides: &[Side::Open, Side::Open, Side::Hedge, Side::Forest, Side::Slope],
    traffic_per_km: (0.0, 5.0),
    shake_deg: (0.02, 0.2),
    ..HIGHWAY
};

const FOREST: Profile = Profile {
    name: "forest",
    speed_m_s: (7.0, 22.0),
    curvature: (0.0005, 0.009),
    sides: &[Side::Forest],
    skies: &[Sky::White, Sky::Overcast, Sky::Clear, Sky::White],
    traffic_per_km: (0.0, 3.0),
    ..RURAL
};

const CITY: Profile = Profile {
    name: "city",
    speed_m_s: (0.0, 14.0),
    curvature: (0.0, 0.004),
    curve_m: (40.0, 150.0),
    grade: (0.0, 0.02),
    lanes: (1, 3),
    lane_m: (2.9, 3.5),
    divided: 0.25,
    marked: 0.9,
    sides: &[Side::City, Side::City, Side::Suburb, Side::Hedge],
    haze_m: (500.0, 4_000.0),
    traffic_per_km: (8.0, 40.0),
    ..HIGHWAY
};

const SUBURB: Profile = Profile {
    name: "suburb",
    speed_m_s: (3.0, 15.0),
    curvature: (0.0, 0.008),
    lanes: (1, 2),
    divided: 0.1,
    marked: 0.6,
    sides: &[Side::Suburb, Side::Suburb, Side::Hedge, Side::Open],
    traffic_per_km: (2.0, 15.0),
    ..CITY
};

const MOUNTAIN: Profile = Profile {
    name: "mountain",
    speed_m_s: (8.0, 25.0),
    curvature: (0.002, 0.01),
    curve_m: (50.0, 150.0),
    grade: (0.02, 0.08),
    sides: &[Side::Rock, Side::Slope, Side::Open, Side::Forest],
    ..RURAL
};

const DESERT: Profile = Profile {
    name: "desert",
    speed_m_s: (15.0, 35.0),
    curvature: (0.0, 0.002),
    curve_m: (150.0, 600.0),
    sides: &[Side::Desert, Side::Desert, Side::Open],
    skies: &[Sky::Clear, Sky::Clear, Sky::White, Sky::Broken],
    ..RURAL
};

const COAST: Profile = Profile {
    name: "coast",
    curvature: (0.001, 0.008),
    sides: &[Side::Water, Side::Rock, Side::Slope, Side::Suburb],
    ..RURAL
};

const HAZE: Profile = Profile {
    name: "haze",
    skies: &[Sky::White, Sky::Overcast],
    haze_m: (80.0, 400.0),
    sides: &[Side::Open, Side::Hedge, Side::Slope, Side::Barrier, Side::Suburb],
    ..HIGHWAY
};

const DUSK: Profile = Profile {
    name: "dusk",
    skies: &[Sky::Dusk],
    sides: &[Side::Open, Side::Hedge, Side::Slope, Side::Forest, Side::Suburb],
    ..HIGHWAY
};

const RAIN: Profile = Profile {
    name: "rain",
    skies: &[Sky::Overcast, Sky::White],
    haze_m: (120.0, 900.0),
    sides: &[Side::Open, Side::Hedge, Side::Slope, Side::City, Side::Forest],
    rain: 1.0,
    ..HIGHWAY
};

const TUNNEL: Profile = Profile {
    name: "tunnel",
    speed_m_s: (10.0, 28.0),
    lanes: (1, 3),
    divided: 0.6,
    sides: &[Side::Tunnel],
    skies: &[Sky::Night],
    ..HIGHWAY
};

const RC_TRACK: Profile = Profile {
    name: "rc_track",
    scale: 0.1,
    speed_m_s: (0.4, 2.2),
    curvature: (0.1, 0.8),
    curve_m: (1.5, 5.0),
    grade: (0.0, 0.0),
    lanes: (1, 1),
    lane_m: (0.35, 0.7),
    divided: 0.0,
    marked: 1.0,
    sides: &[Side::Hall],
    skies: &[Sky::Overcast],
    haze_m: (200.0, 2_000.0),
    traffic_per_km: (0.0, 0.0),
    camera_m: (0.1, 0.25),
    shake_deg: (0.1, 0.7),
    rain: 0.0,
    snow: 0.0,
    left_hand: false,
};

const NIGHT: Profile = Profile {
    name: "night",
    skies: &[Sky::Night],
    sides: &[Side::Open, Side::Hedge, Side::Forest, Side::City, Side::Suburb],
    speed_m_s: (8.0, 30.0),
    ..HIGHWAY
};

const SNOW: Profile = Profile {
    name: "snow",
    skies: &[Sky::White, Sky::Overcast, Sky::Clear],
    haze_m: (150.0, 2_000.0),
    snow: 1.0,
    ..RURAL
};

const LEFT_HAND: Profile = Profile { name: "left_hand", left_hand: true, ..RURAL };

const TIGHT_CURVES: Profile = Profile {
    name: "tight_curves",
    speed_m_s: (5.0, 13.0),
    curvature: (0.015, 0.04),
    curve_m: (20.0, 50.0),
    ..MOUNTAIN
};

const DENSE_TRAFFIC: Profile = Profile {
    name: "dense_traffic",
    speed_m_s: (2.0, 18.0),
    lanes: (2, 4),
    traffic_per_km: (35.0, 70.0),
    ..HIGHWAY
};
