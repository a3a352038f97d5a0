//! When windows are open, and who is there: a share drawn anew for each, and habits of driving and parking.

use shoal_shadow::document::{DocumentError, Table};

use super::{drawn, liars};

const DAY_S: u64 = 86_400;
/// Days of a week.
const WEEK: u64 = 7;

/// A calendar.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CalendarConfig {
    /// From one window to the next, in seconds.
    pub period_s: u32,
    /// How long a window is open, in seconds.
    pub open_s: u32,
    /// Share of vehicles that miss a window, drawn anew for each.
    pub absent: f64,
    /// Share of vehicles, always the same, whose contribution is that of the window before.
    pub stale: f64,
    /// When window 0 opens, in seconds since midnight of the first day.
    pub opens_s: u32,
    /// For how long a vehicle must be parked between two windows for the whole night's steps; 0: it always manages them.
    pub night_s: u32,
}

/// Vehicles that drive at the same hours.
#[derive(Clone, Debug, PartialEq)]
pub struct HabitConfig {
    /// Its name.
    pub name: String,
    /// How many vehicles have it.
    pub vehicles: u32,
    /// From when to when they drive, in seconds since midnight; a span that ends before it begins ends on the next day.
    pub drives: Vec<(u32, u32)>,
    /// On so many of each seven days, the first ones; on the others they stand parked.
    pub days: u32,
}

impl CalendarConfig {
    /// The calendar of a file, and the habits in it.
    pub(super) fn read(
        root: &Table<'_>,
        (vehicles, windows): (u32, u32),
    ) -> Result<(Self, Vec<HabitConfig>), DocumentError> {
        let mut calendar = CalendarConfig {
            period_s: DAY_S as u32,
            open_s: 3600,
            absent: 0.0,
            stale: 0.0,
            opens_s: 0,
            night_s: 0,
        };
        let keys = ["period_s", "open_s", "absent", "stale", "opens", "night_s", "habits"];
        let Some(table) = root.table("calendar", &keys)? else {
            return Ok((calendar, Vec::new()));
        };
        let seconds = |key| Ok(table.integer(key, 60..=2_592_000)?.map(|n| n as u32));
        calendar.period_s = seconds("period_s")?.unwrap_or(calendar.period_s);
        calendar.open_s = seconds("open_s")?.unwrap_or(calendar.open_s.min(calendar.period_s));
        calendar.absent = table.number("absent", 0.0..=0.99)?.unwrap_or(0.0);
        calendar.stale = table.number("stale", 0.0..=1.0)?.unwrap_or(0.0);
        calendar.night_s = seconds("night_s")?.unwrap_or(0);
        if calendar.open_s > calendar.period_s {
            let want = format!("at most period_s ({})", calendar.period_s);
            return Err(table.refuse("open_s", calendar.open_s, &want));
        }
        if let Some(text) = table.text("opens")? {
            let want = "an hour as \"02:30\"";
            calendar.opens_s = hour(text).ok_or_else(|| table.refuse("opens", text, want))?;
        }
        let habits = HabitConfig::read(&table, vehicles)?;
        if calendar.night_s > 0 && habits.is_empty() {
            return Err(table.refuse("night_s", "without habits", "[[calendar.habits]]"));
        }
        for (habit, place) in habits.iter().zip(table.tables("habits", &HABIT)?) {
            if (1..=windows).all(|window| !habit.attends(&calendar, window)) {
                let got = format!("hours in every one of the {windows} windows");
                return Err(place.refuse("drives", got, "a window while they are parked"));
            }
        }
        Ok((calendar, habits))
    }

    /// Whose contribution is that of the window before, by vehicle: the same with every method.
    #[must_use]
    pub fn stale_of(&self, vehicles: u32, seed: u64) -> Vec<bool> {
        liars::share_of(self.stale, vehicles, seed, "shoal simulation stale")
    }

    /// From when to when a window is open, in seconds since midnight of the first day.
    fn open(&self, window: u32) -> (u64, u64) {
        let opens = u64::from(window) * u64::from(self.period_s) + u64::from(self.opens_s);
        (opens, opens + u64::from(self.open_s))
    }
}

const HABIT: [&str; 5] = ["name", "share", "vehicles", "drives", "days"];

impl HabitConfig {
    fn read(calendar: &Table<'_>, vehicles: u32) -> Result<Vec<Self>, DocumentError> {
        let mut habits: Vec<HabitConfig> = Vec::new();
        for table in calendar.tables("habits", &HABIT)? {
            let habit = HabitConfig::of_table(&table, vehicles)?;
            if habits.iter().any(|other| other.name == habit.name) {
                return Err(table.refuse("name", &habit.name, "a name that no other habit has"));
            }
            habits.push(habit);
            let sum: u32 = habits.iter().map(|habit| habit.vehicles).sum();
            if sum > vehicles {
                let key = if table.has("share") { "share" } else { "vehicles" };
                let want = format!("at most the {vehicles} vehicles there are, in all habits");
                return Err(table.refuse(key, format!("{sum} vehicles"), &want));
            }
        }
        Ok(habits)
    }

    fn of_table(table: &Table<'_>, vehicles: u32) -> Result<Self, DocumentError> {
        let name = table.text_required("name")?.to_owned();
        let count = table.integer("vehicles", 1..=i64::from(vehicles))?.map(|n| n as u32);
        let vehicles = match (count, table.number("share", 0.0..=1.0)?) {
            (Some(_), Some(_)) => {
                return Err(table.refuse("share", "beside `vehicles`", "only one of the two"));
            }
            (Some(count), None) => count,
            (None, Some(share)) => (share * f64::from(vehicles)).round() as u32,
            (None, None) => return Err(table.missing("vehicles")),
        };
        let span = |text: &str| {
            let (from, to) = text.split_once('-')?;
            let (from, to) = (hour(from)?, hour(to)?);
            (from != to).then_some((from, to))
        };
        let drives = table.texts("drives")?.into_iter().map(|text| {
            let want = "two hours as \"07:30-08:15\"";
            span(text).ok_or_else(|| table.refuse("drives", format!("`{text}`"), want))
        });
        let days = table.integer("days", 0..=WEEK as i64)?.map_or(WEEK as u32, |n| n as u32);
        Ok(HabitConfig { name, vehicles, drives: drives.collect::<Result<_, _>>()?, days })
    }

    /// Seconds of driving between two moments.
    fn driven_s(&self, from: u64, to: u64) -> u64 {
        let days = (from / DAY_S).saturating_sub(1)..=to / DAY_S;
        let drives_on = |day: &u64| day % WEEK < u64::from(self.days);
        let spans = days.filter(drives_on).flat_map(|day| {
            let midnight = day * DAY_S;
            self.drives.iter().map(move |&(begins, ends)| {
                let late = if ends < begins { DAY_S } else { 0 };
                (midnight + u64::from(begins), midnight + u64::from(ends) + late)
            })
        });
        spans.map(|(begins, ends)| ends.min(to).saturating_sub(begins.max(from))).sum()
    }

    /// Whether they stand parked for as long as this window is open.
    fn attends(&self, calendar: &CalendarConfig, window: u32) -> bool {
        let (opens, closes) = calendar.open(window);
        self.driven_s(opens, closes) == 0
    }

    /// The part of a night's steps that they manage between the window before and this one.
    fn managed(&self, calendar: &CalendarConfig, window: u32) -> f64 {
        let since = window.checked_sub(1).map_or(0, |before| calendar.open(before).1);
        let until = calendar.open(window).0;
        let parked = until.saturating_sub(since).saturating_sub(self.driven_s(since, until));
        if calendar.night_s == 0 {
            return 1.0;
        }
        (parked as f64 / f64::from(calendar.night_s)).min(1.0)
    }
}

/// Seconds since midnight of `HH:MM`.
fn hour(text: &str) -> Option<u32> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let (hours, minutes): (u32, u32) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)
}

/// Who has which habit.
#[derive(Clone, Debug)]
pub struct Habits {
    calendar: CalendarConfig,
    /// By vehicle; `None`: always parked, as all are where nobody has a habit.
    of: Vec<Option<HabitConfig>>,
}

impl Habits {
    /// Drawn from the seed: the same with every method.
    #[must_use]
    pub fn new(calendar: CalendarConfig, habits: &[HabitConfig], vehicles: u32, seed: u64) -> Self {
        // A fleet of a million has mostly none, and is asked in every window.
        if habits.is_empty() {
            return Habits { calendar, of: Vec::new() };
        }
        let mut of = vec![None; vehicles as usize];
        let places =
            habits.iter().flat_map(|habit| (0..habit.vehicles).map(move |_one| habit.clone()));
        let order = drawn(vehicles, seed, "shoal simulation habits");
        for (vehicle, habit) in order.into_iter().zip(places) {
            of.get_mut(vehicle).into_iter().for_each(|of| *of = Some(habit.clone()));
        }
        Habits { calendar, of }
    }

    fn habit(&self, vehicle: u32) -> Option<&HabitConfig> {
        self.of.get(vehicle as usize)?.as_ref()
    }

    /// Whether a vehicle stands parked for as long as this window is open.
    #[must_use]
    pub fn attends(&self, vehicle: u32, window: u32) -> bool {
        self.habit(vehicle).is_none_or(|habit| habit.attends(&self.calendar, window))
    }

    /// Whether anybody's nights are shorter for it.
    #[must_use]
    pub fn limit(&self) -> bool {
        self.calendar.night_s > 0
    }

    /// How many of so many steps a vehicle manages before this window, at least one.
    #[must_use]
    pub fn steps(&self, vehicle: u32, window: u32, steps: u32) -> u32 {
        let part = self.habit(vehicle).map_or(1.0, |habit| habit.managed(&self.calendar, window));
        ((f64::from(steps) * part).round() as u32).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SimConfig;
    use crate::config::tests::{SMALL, refused};

    fn fleet(calendar: &str, habits: &str) -> String {
        format!("{SMALL}[calendar]\n{calendar}\n{habits}")
    }

    const COMMUTERS: &str = "[[calendar.habits]]\nname = \"commuters\"\nvehicles = 6\n\
         drives = [\"07:30-08:30\", \"17:00-18:30\"]\ndays = 5\n";
    const NIGHT: &str = "[[calendar.habits]]\nname = \"night shift\"\nshare = 0.25\n\
         drives = [\"22:00-06:00\"]\n";

    fn habits(calendar: &str, habits: &str) -> Habits {
        let config = SimConfig::parse("fleet.toml", &fleet(calendar, habits)).unwrap();
        Habits::new(config.calendar, &config.habits, config.vehicles, config.seed)
    }

    #[test]
    fn who_drives_while_a_window_is_open_misses_it() {
        // From eight to nine in the morning: commuters are there on Saturdays and Sundays, who works at night always.
        let habits = habits("opens = \"08:00\"\n", &format!("{COMMUTERS}{NIGHT}"));
        for window in 1..=14 {
            let there = (0..8).filter(|vehicle| habits.attends(*vehicle, window)).count();
            let weekend = matches!(window % 7, 5 | 6);
            assert_eq!(there, if weekend { 8 } else { 2 }, "window {window}");
        }
    }

    #[test]
    fn a_span_over_midnight_is_of_the_day_it_begins_on() {
        let shift = "[[calendar.habits]]\nname = \"one\"\nvehicles = 8\ndrives = [\"22:00-06:00\"]\ndays = 1\n";
        let habits = habits("opens = \"02:00\"\n", shift);
        let there: Vec<bool> = (1..=8).map(|window| habits.attends(0, window)).collect();
        // Begun on the first day of each week, it is driven on the morning of the second.
        assert_eq!(there, [false, true, true, true, true, true, true, false]);
    }

    #[test]
    fn a_night_is_as_long_as_a_vehicle_is_parked() {
        // Twenty-three hours from one window to the next, of which commuters drive two and a half.
        let calendar = "opens = \"02:00\"\nnight_s = 82_800\n";
        let habits = habits(calendar, COMMUTERS);
        let steps: Vec<u32> = (0..8).map(|vehicle| habits.steps(vehicle, 3, 230)).collect();
        assert_eq!(steps.iter().filter(|steps| **steps == 205).count(), 6, "{steps:?}");
        assert_eq!(steps.iter().filter(|steps| **steps == 230).count(), 2, "{steps:?}");
        let sunday = (0..8).map(|vehicle| habits.steps(vehicle, 7, 230));
        assert!(sunday.into_iter().all(|steps| steps == 230));
    }

    #[test]
    fn what_no_vehicle_could_keep_is_refused() {
        let habit = |more: &str| {
            fleet("", &format!("[[calendar.habits]]\nname = \"a\"\nvehicles = 1\n{more}"))
        };
        for (toml, said) in [
            (habit("drives = [\"00:00-23:59\"]\n"), "a window while they are parked"),
            (habit("drives = [\"8-9\"]\n"), "07:30-08:15"),
            (habit("drives = [\"08:00-08:00\"]\n"), "07:30-08:15"),
            (habit("drives = [\"24:00-25:00\"]\n"), "07:30-08:15"),
            (habit("days = 8\n"), "0 to 7"),
            (habit("share = 0.5\n"), "only one of the two"),
            (habit("drivse = []\n"), "did you mean `drives`"),
            (fleet("opens = \"25:00\"\n", ""), "an hour as"),
            (fleet("night_s = 3600\n", ""), "without habits"),
            (fleet("", &COMMUTERS.replace('6', "9")), "1 to 8"),
            (fleet("", &format!("{COMMUTERS}{}", COMMUTERS.replace("commuters", "b"))), "at most"),
            (fleet("", &format!("{NIGHT}{NIGHT}")), "no other habit"),
        ] {
            let error = refused(&toml);
            assert!(error.contains(said), "{toml}: {error}");
        }
    }
}
