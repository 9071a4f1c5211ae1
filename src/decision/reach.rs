//! Which rules of a policy can ever hold.
//!
//! In: compiled rules. Out: contradictions, segments and campaigns nobody can get into, customers
//! whom no segment takes. Each fact is cut into the pieces that its tests can tell apart, and one
//! customer stands for each combination of pieces, so the answer is exact for segments up to
//! [`CELLS_MAX`] combinations (a larger policy is checked by pairs of rules only). It deliberately
//! knows no customer; what facts have to do with each other beyond "who never ordered has no
//! rhythm" it does not know either, so it never calls a rule dead that lives.

use crate::decision::fact::Fact;
use crate::decision::fact::FactKind;
use crate::decision::fact::near;
use crate::decision::issue::PolicyIssueKind;
use crate::decision::policy::Campaign;
use crate::decision::policy::Policy;
use crate::decision::predicate::Op;
use crate::decision::predicate::Rule;
use crate::decision::predicate::Test;
use crate::decision::read::Issues;
#[cfg(test)]
use crate::decision::segment::Segment;
use crate::domain::Name;

/// Combinations that are tried at most: some milliseconds.
const CELLS_MAX: usize = 60_000;
/// Customers kept for each segment, for campaigns to be tried on before anything longer.
const WITNESSES_MAX: usize = 48;

/// Facts that come as whole numbers.
const WHOLE: [Fact; 14] = [
    Fact::Orders,
    Fact::Visits,
    Fact::R,
    Fact::F,
    Fact::M,
    Fact::V,
    Fact::ComplaintSerious90d,
    Fact::OpenTickets,
    Fact::OpenCritical,
    Fact::NpsLast,
    Fact::Referrals,
    Fact::ContactPeople,
    Fact::Messages7d,
    Fact::DeviceBreadth,
];
/// Facts that are known of everybody.
const NEVER_MISSING: [Fact; 16] = [
    Fact::HasEmail,
    Fact::DoNotContact,
    Fact::B2b,
    Fact::Reachable,
    Fact::Orders,
    Fact::Visits,
    Fact::AchievementNew,
    Fact::HasUpdates,
    Fact::ComplaintSerious90d,
    Fact::OpenTickets,
    Fact::OpenCritical,
    Fact::SpendMilestone,
    Fact::Referrals,
    Fact::Messages7d,
    Fact::OutOfDistribution,
    Fact::SegmentOf,
];
/// Facts that only a buyer has.
const OF_BUYERS: [Fact; 8] = [
    Fact::DaysSinceOrder,
    Fact::R,
    Fact::F,
    Fact::M,
    Fact::V,
    Fact::LapseState,
    Fact::SilenceProb,
    Fact::StageOf,
];

/// One value of a fact that its tests can tell from others; NaN without names is missing.
#[derive(Debug, Clone)]
struct Point {
    number: f64,
    names: Vec<Name>,
    /// Whether no test tells it from a missing value.
    like_missing: bool,
}

impl Point {
    const fn number(number: f64) -> Self {
        Self { number, names: Vec::new(), like_missing: number.is_nan() }
    }

    fn meets(&self, test: &Test) -> bool {
        test.op.holds(self.number, &self.names)
    }

    fn is_missing(&self) -> bool {
        self.number.is_nan() && self.names.is_empty()
    }
}

/// A fact and the values it may take.
#[derive(Debug)]
struct Axis {
    fact: Fact,
    points: Vec<Point>,
}

/// Why a list of conditions can never hold together, if it cannot.
pub(crate) fn contradiction(all: &[Test]) -> Option<String> {
    for (idx, test) in all.iter().enumerate() {
        let of_fact: Vec<&Test> = all.iter().filter(|other| other.fact == test.fact).collect();
        if all[..idx].iter().any(|earlier| earlier.fact == test.fact) {
            continue;
        }
        let points = points(test.fact, &of_fact);
        if !points.iter().any(|point| of_fact.iter().all(|test| point.meets(test))) {
            let texts: Vec<String> =
                of_fact.iter().map(|test| format!("{:?}", test.text)).collect();
            return Some(format!("{} exclude each other: drop one", texts.join(" and ")));
        }
    }
    let buys = all.iter().find(|test| OF_BUYERS.contains(&test.fact))?;
    let orders: Vec<&Test> = all.iter().filter(|test| test.fact == Fact::Orders).collect();
    let mut may_buy = points(Fact::Orders, &orders).into_iter().filter(|point| point.number > 0.5);
    if may_buy.any(|point| orders.iter().all(|test| point.meets(test))) {
        return None;
    }
    Some(format!("{:?} is known of buyers only: drop it, or ask for orders >= 1", buys.text))
}

/// Says which segments and campaigns nobody can reach, and whom no segment takes.
pub(crate) fn check(
    policy: &Policy,
    segment_lines: &[usize],
    campaign_lines: &[usize],
    issues: &mut Issues,
) {
    let tests: Vec<&Test> =
        policy.segments.iter().flat_map(|one| one.rule.any().iter().flatten()).collect();
    let axes = axes(&tests);
    let n_cells = axes.iter().try_fold(1_usize, |n, axis| n.checked_mul(axis.points.len()));
    if n_cells.is_none_or(|n| n > CELLS_MAX) {
        return;
    }
    let mut witnesses: Vec<Vec<Vec<usize>>> = vec![Vec::new(); policy.segments.len()];
    let mut uncovered: Option<String> = None;
    each_cell(&axes, &mut |cell| {
        match policy.segments.iter().position(|one| holds(&one.rule, &axes, cell)) {
            Some(idx) if witnesses[idx].len() < WITNESSES_MAX => witnesses[idx].push(cell.to_vec()),
            Some(_) => {}
            None if uncovered.is_none() => uncovered = Some(describe(&axes, cell)),
            None => {}
        }
        true
    });
    if let Some(example) = uncovered {
        let line = segment_lines.last().copied().unwrap_or(1);
        issues.add(line, PolicyIssueKind::Uncovered { example });
    }
    for ((one, line), found) in policy.segments.iter().zip(segment_lines).zip(&witnesses) {
        if found.is_empty() {
            let rule = format!("segment \"{}\"", one.segment);
            let what =
                "the segments before it take everybody it asks for: move it up, or let them \
                        ask for more"
                    .to_owned();
            issues.add(*line, PolicyIssueKind::Impossible { rule, list: 0, what });
        }
    }
    let world = World { policy, axes: &axes, witnesses: &witnesses };
    for (campaign, line) in policy.campaigns.iter().zip(campaign_lines) {
        check_campaign(&world, campaign, *line, issues);
    }
}

/// The segments' combinations, for campaigns to be tried on.
struct World<'a> {
    policy: &'a Policy,
    axes: &'a [Axis],
    /// By segment rule, cells that fall into it.
    witnesses: &'a [Vec<Vec<usize>>],
}

fn check_campaign(world: &World<'_>, campaign: &Campaign, line: usize, issues: &mut Issues) {
    let n_lists = campaign.rule.any().len();
    for (idx, all) in campaign.rule.any().iter().enumerate() {
        if world.is_reached(all, campaign.non_buyers_only) {
            continue;
        }
        let named: Vec<String> = all
            .iter()
            .filter(|test| test.fact == Fact::SegmentOf)
            .map(|test| format!("{:?}", test.text))
            .collect();
        let what = if campaign.non_buyers_only {
            "it is for non-buyers only, and no non-buyer meets the conditions".to_owned()
        } else {
            let named = named.join(" and ");
            format!("nobody with {named} meets the other conditions: drop one of them")
        };
        let rule = format!("campaign \"{}\"", campaign.id);
        let list = if n_lists > 1 { idx + 1 } else { 0 };
        issues.add(line, PolicyIssueKind::Impossible { rule, list, what });
    }
}

impl World<'_> {
    /// Whether somebody meets a list of conditions that is without contradiction in itself.
    fn is_reached(&self, all: &[Test], non_buyers_only: bool) -> bool {
        let asks_segment = all.iter().any(|test| test.fact == Fact::SegmentOf);
        if !asks_segment && !non_buyers_only {
            return true;
        }
        let allowed: Vec<usize> = (0..self.policy.segments.len())
            .filter(|idx| {
                let code = f64::from(self.policy.segments[*idx].segment as u8);
                let of_segment = all.iter().filter(|test| test.fact == Fact::SegmentOf);
                of_segment.into_iter().all(|test| test.op.holds(code, &[]))
            })
            .collect();
        let quickly = allowed.iter().flat_map(|idx| &self.witnesses[*idx]);
        if quickly.into_iter().any(|cell| meets(all, self.axes, cell, non_buyers_only)) {
            return true;
        }
        self.is_reached_somewhere(all, &allowed, non_buyers_only)
    }

    /// The long way: the combinations cut finer by the conditions' own bounds.
    fn is_reached_somewhere(&self, all: &[Test], allowed: &[usize], non_buyers_only: bool) -> bool {
        let of_segments =
            self.policy.segments.iter().flat_map(|one| one.rule.any().iter().flatten());
        let own = all.iter().filter(|test| {
            test.fact == Fact::Orders || self.axes.iter().any(|axis| axis.fact == test.fact)
        });
        let tests: Vec<&Test> = of_segments.chain(own).collect();
        let mut axes = axes(&tests);
        for axis in &mut axes {
            let of_fact = |test: &&Test| test.fact == axis.fact;
            let wanted: Vec<&Test> = all.iter().filter(of_fact).collect();
            axis.points.retain(|point| wanted.iter().all(|test| point.meets(test)));
        }
        let n_cells = axes.iter().try_fold(1_usize, |n, axis| n.checked_mul(axis.points.len()));
        if n_cells.is_none_or(|n| n > CELLS_MAX) {
            return true;
        }
        let mut is_reached = false;
        each_cell(&axes, &mut |cell| {
            let rules = self.policy.segments.iter();
            let segment = rules.into_iter().position(|one| holds(&one.rule, &axes, cell));
            is_reached = segment.is_some_and(|idx| allowed.contains(&idx))
                && meets(all, &axes, cell, non_buyers_only);
            !is_reached
        });
        is_reached
    }
}

/// Whether a cell meets the conditions, as far as they are about its facts.
fn meets(all: &[Test], axes: &[Axis], cell: &[usize], non_buyers_only: bool) -> bool {
    let point = |fact: Fact| {
        let at = axes.iter().position(|axis| axis.fact == fact)?;
        Some(&axes[at].points[cell[at]])
    };
    let is_non_buyer = point(Fact::Orders).is_some_and(|point| point.number < 0.5);
    let may_buy = point(Fact::Orders).is_none_or(|point| point.number > 0.5);
    (!non_buyers_only || is_non_buyer || point(Fact::Orders).is_none())
        && all.iter().all(|test| match point(test.fact) {
            Some(point) => point.meets(test),
            None => may_buy || !OF_BUYERS.contains(&test.fact),
        })
}

fn holds(rule: &Rule, axes: &[Axis], cell: &[usize]) -> bool {
    rule.any().iter().any(|all| meets(all, axes, cell, false))
}

/// One axis for each fact that is asked for.
fn axes(tests: &[&Test]) -> Vec<Axis> {
    let mut facts: Vec<Fact> = tests.iter().map(|test| test.fact).collect();
    facts.sort();
    facts.dedup();
    facts
        .into_iter()
        .map(|fact| {
            let of_fact: Vec<&Test> =
                tests.iter().copied().filter(|test| test.fact == fact).collect();
            let points = told_apart(fact, points(fact, &of_fact), &of_fact);
            Axis { fact, points }
        })
        .collect()
}

/// One value for all that no test tells apart.
fn told_apart(fact: Fact, points: Vec<Point>, tests: &[&Test]) -> Vec<Point> {
    let mut kept: Vec<(Vec<bool>, Point)> = Vec::new();
    for point in points {
        let mut answers: Vec<bool> = tests.iter().map(|test| point.meets(test)).collect();
        // Whether somebody buys counts although no test may ask.
        answers.push(fact == Fact::Orders && point.number > 0.5);
        match kept.iter_mut().find(|(known, _)| *known == answers) {
            Some((_, known)) => known.like_missing |= point.like_missing,
            None => kept.push((answers, point)),
        }
    }
    kept.into_iter().map(|(_, point)| point).collect()
}

/// Calls `look` with every combination that can be, until it says false.
fn each_cell(axes: &[Axis], look: &mut dyn FnMut(&[usize]) -> bool) {
    if axes.iter().any(|axis| axis.points.is_empty()) {
        return;
    }
    let mut cell = vec![0; axes.len()];
    loop {
        if can_be(axes, &cell) && !look(&cell) {
            return;
        }
        let mut at = 0;
        loop {
            let Some(axis) = axes.get(at) else { return };
            cell[at] += 1;
            if cell[at] < axis.points.len() {
                break;
            }
            cell[at] = 0;
            at += 1;
        }
    }
}

/// Who never ordered has neither rhythm nor scores.
fn can_be(axes: &[Axis], cell: &[usize]) -> bool {
    let orders = axes.iter().zip(cell).find(|(axis, _)| axis.fact == Fact::Orders);
    let is_non_buyer = orders.is_some_and(|(axis, at)| axis.points[*at].number < 0.5);
    !is_non_buyer
        || axes
            .iter()
            .zip(cell)
            .all(|(axis, at)| !OF_BUYERS.contains(&axis.fact) || axis.points[*at].like_missing)
}

fn describe(axes: &[Axis], cell: &[usize]) -> String {
    let named: Vec<String> = axes
        .iter()
        .zip(cell)
        .map(|(axis, at)| {
            let (fact, point) = (axis.fact.as_str(), &axis.points[*at]);
            let value = match axis.fact.kind() {
                _ if point.is_missing() => return format!("no {fact}"),
                FactKind::Name | FactKind::Names => point.names[0].to_string(),
                FactKind::Flag => (point.number > 0.5).to_string(),
                FactKind::OneOf(names) => names
                    .iter()
                    .zip(0_u8..)
                    .find(|(_, code)| near(f64::from(*code), point.number))
                    .map_or_else(String::new, |(name, _)| (*name).to_owned()),
                FactKind::Number { .. } | FactKind::Channels => point.number.to_string(),
            };
            format!("{fact} = {value}")
        })
        .collect();
    named.join(", ")
}

/// The values of a fact that the tests can tell apart.
fn points(fact: Fact, tests: &[&Test]) -> Vec<Point> {
    let mut points: Vec<Point> = match fact.kind() {
        FactKind::Flag => vec![Point::number(0.0), Point::number(1.0)],
        FactKind::OneOf(names) => (0..names.len()).map(|code| Point::number(small(code))).collect(),
        // No channel, each alone, all.
        FactKind::Channels => [0, 255]
            .into_iter()
            .chain((0..8).map(|bit| 1 << bit))
            .map(|n| Point::number(small(n)))
            .collect(),
        FactKind::Number { min, max } => {
            numbers(fact, min, max, tests).into_iter().map(Point::number).collect()
        }
        FactKind::Name => named(tests)
            .map(|name| Point { number: f64::NAN, names: vec![name], like_missing: false })
            .collect(),
        // Each alone, and all together.
        FactKind::Names => {
            let each = named(tests).map(|name| vec![name]);
            let sets = each.chain([named(tests).collect()]);
            sets.map(|names| Point { number: f64::NAN, names, like_missing: false }).collect()
        }
    };
    if !NEVER_MISSING.contains(&fact) {
        points.push(Point::number(f64::NAN));
    }
    points
}

fn small(number: usize) -> f64 {
    f64::from(u16::try_from(number).unwrap_or(u16::MAX))
}

fn named(tests: &[&Test]) -> impl Iterator<Item = Name> {
    let mut names: Vec<Name> = tests
        .iter()
        .filter_map(|test| match &test.op {
            Op::Named(names) => Some(names.to_vec()),
            _ => None,
        })
        .flatten()
        .collect();
    names.sort();
    names.dedup();
    // One that nobody asks for.
    names.extend(Name::try_new("(another)").ok());
    names.into_iter()
}

/// Every bound, and a value on each side of it.
fn numbers(fact: Fact, min: f64, max: f64, tests: &[&Test]) -> Vec<f64> {
    let mut bounds: Vec<f64> = tests
        .iter()
        .flat_map(|test| match &test.op {
            Op::AtLeast(b) | Op::AtMost(b) | Op::Above(b) | Op::Below(b) => vec![*b],
            Op::OneOf(literals) => literals.to_vec(),
            _ => Vec::new(),
        })
        .collect();
    bounds.sort_by(f64::total_cmp);
    let mut found = Vec::new();
    if WHOLE.contains(&fact) {
        found.extend([min, min + 1.0]);
        for bound in &bounds {
            found.extend([bound.floor() - 1.0, bound.floor(), bound.ceil(), bound.ceil() + 1.0]);
        }
    } else {
        let first = bounds.first().copied().unwrap_or(0.0);
        let last = bounds.last().copied().unwrap_or(0.0);
        found.push(if min.is_finite() { min } else { first - 1.0 });
        found.push(if max.is_finite() { max } else { last + 1.0 });
        found.extend(&bounds);
        found.extend(bounds.windows(2).map(|pair| f64::midpoint(pair[0], pair[1])));
        found.extend([
            f64::midpoint(min.max(first - 1.0), first),
            f64::midpoint(last, max.min(last + 1.0)),
        ]);
    }
    found.retain(|value| (min..=max).contains(value));
    found.sort_by(f64::total_cmp);
    found.dedup_by(|later, earlier| near(*later, *earlier));
    found
}

/// The segments that some combination falls into, for tests; none where there are too many.
#[cfg(test)]
pub(crate) fn reached_segments(policy: &Policy) -> Vec<Segment> {
    let tests: Vec<&Test> =
        policy.segments.iter().flat_map(|one| one.rule.any().iter().flatten()).collect();
    let axes = axes(&tests);
    let mut found = Vec::new();
    each_cell(&axes, &mut |cell| {
        let first = policy.segments.iter().find(|one| holds(&one.rule, &axes, cell));
        found.extend(first.map(|one| one.segment));
        true
    });
    found.sort();
    found.dedup();
    found
}
