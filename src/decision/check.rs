//! From a policy file to a checked policy, or to everything that is wrong with it.
//!
//! In: TOML. Out: a policy without its hash. Reading goes on past every issue, with a stand-in
//! value, so one run shows them all; a policy comes out only when there was none.

use toml::de::DeTable;

use crate::decision::campaigns;
use crate::decision::campaigns::Surroundings;
use crate::decision::costs;
use crate::decision::fact::Fact;
use crate::decision::fact_rule::fact_rule;
use crate::decision::issue::PolicyErrors;
use crate::decision::issue::PolicyIssueKind;
use crate::decision::issue::nearest;
use crate::decision::lapse::LapseRule;
use crate::decision::policy::Arbitration;
use crate::decision::policy::ChannelCaps;
use crate::decision::policy::ClvBasis;
use crate::decision::policy::DiscountGuard;
use crate::decision::policy::Gates;
use crate::decision::policy::OfferKind;
use crate::decision::policy::Override;
use crate::decision::policy::Policy;
use crate::decision::policy::PolicyId;
use crate::decision::policy::SaltSource;
use crate::decision::policy::SegmentRule;
use crate::decision::policy::Sticky;
use crate::decision::policy::TierMode;
use crate::decision::predicate::Rule;
use crate::decision::predicate::compile;
use crate::decision::reach;
use crate::decision::read::At;
use crate::decision::read::Issues;
use crate::decision::read::Section;
use crate::decision::segment::Phase;
use crate::decision::segment::Segment;
use crate::decision::tier::Tier;
use crate::decision::tier::TierCuts;
use crate::domain::Channel;
use crate::domain::Name;

/// The form of the file this program reads.
const SCHEMA_VERSION: f64 = 1.0;
/// Bounds of a share.
pub(crate) const SHARE: (f64, f64) = (0.0, 1.0);
/// Bounds of a number of days: ten years.
pub(crate) const DAYS: (f64, f64) = (0.0, 3650.0);
/// Bounds of a number of hours: ten years.
const HOURS: (f64, f64) = (0.0, 87_600.0);
/// Bounds of an amount that may also be lost, in currency units.
const AMOUNT: (f64, f64) = (-1e9, 1e9);
/// Greatest message cap.
const MESSAGES_MAX: u32 = 10_000;
/// Largest policy file, in bytes.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Where a rule stands, which decides what is known there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Segment,
    Override,
    Campaign,
}

/// Reads and checks everything but the hash.
pub(crate) fn check(text: &str) -> Result<Policy, PolicyErrors> {
    let mut issues = Issues::new(text);
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the file has {} bytes, at most {TEXT_BYTES_MAX}", text.len());
        issues.add(1, PolicyIssueKind::Syntax { message });
        return Err(PolicyErrors { issues: issues.found });
    }
    let (document, syntax) = DeTable::parse_recoverable(text);
    for error in syntax {
        let line = issues.line_of(error.span().map_or(0, |span| span.start));
        issues.add(line, PolicyIssueKind::Syntax { message: error.message().to_owned() });
    }
    if issues.found.is_empty() {
        let policy = read(Section::new("", 1, document.get_ref()), &mut issues);
        if issues.found.is_empty() {
            return Ok(policy);
        }
    }
    issues.found.sort_by_key(|issue| issue.line);
    Err(PolicyErrors { issues: issues.found })
}

fn read(mut top: Section<'_>, issues: &mut Issues) -> Policy {
    top.number("schema_version", (SCHEMA_VERSION, SCHEMA_VERSION), issues);
    let id = PolicyId {
        id: top.text("policy_id", issues).map_or("", |at| at.it).to_owned(),
        version: top.text("policy_version", issues).map_or("", |at| at.it).to_owned(),
        hash: [0; 32],
    };
    let clv_basis = clv_basis(&mut top, issues);
    let lapse_rule = lapse_rule(&mut top, issues);
    let fact_rule = fact_rule(&mut top, issues);
    let sticky = sticky(&mut top, issues);
    let economics = costs::economics(&mut top, issues);
    let Risk { tier_mode, red_prob_min, overrides, makes_red } = risk(&mut top, issues);
    let (segments, segment_lines) = segments(&mut top, issues);
    let (assume_reachable, caps) = channels(&mut top, issues);
    let mut gates = gates(&mut top, issues);
    let discount_guard = discount_guard(&mut top, issues);
    let (arbitration, expected_value_min) = arbitration(&mut top, issues);
    let offer_share_of_clv_max = top.section("offers", issues).map_or(0.0, |mut offers| {
        let share = offers.number("share_of_clv_max", SHARE, issues);
        offers.finish(issues);
        share
    });
    let around = Surroundings { caps: &caps, economics: economics.as_ref(), makes_red };
    let (campaigns, campaign_lines) = campaigns::campaigns(&mut top, &around, &mut gates, issues);
    top.finish(issues);
    let policy = Policy {
        id,
        clv_basis,
        lapse_rule,
        fact_rule,
        sticky,
        tier_mode,
        red_prob_min,
        overrides,
        segments,
        assume_reachable,
        caps,
        gates,
        discount_guard,
        offer_share_of_clv_max,
        economics,
        arbitration,
        expected_value_min,
        campaigns,
    };
    check_economics(&policy, issues);
    // Only of whole rules can be said what they reach.
    if issues.found.is_empty() {
        reach::check(&policy, &segment_lines, &campaign_lines, issues);
    }
    policy
}

/// What asks for expected values needs the numbers they are made of.
fn check_economics(policy: &Policy, issues: &mut Issues) {
    let is_economic = matches!(policy.tier_mode, TierMode::Economic { .. });
    let needs = is_economic || policy.arbitration == Arbitration::ExpectedValue;
    if needs && policy.economics.is_none() {
        let what = "risk.mode = \"economic\" and arbitration.mode = \"expected_value\" need an \
                    [economics] table with costs: docs/DECISIONS.md has one to begin with";
        issues.add(1, PolicyIssueKind::Conflict { what });
    }
    if needs && policy.clv_basis == ClvBasis::Revenue {
        let what = "expected values need clv_basis = \"margin\" with a margin_share: revenue is \
                    no profit (margin_share = 1 if the amounts are margins already)";
        issues.add(1, PolicyIssueKind::Conflict { what });
    }
    let asks = |rule: &Rule| rule.any().iter().flatten().any(|test| test.fact == Fact::ModelTier);
    if is_economic && policy.segments.iter().any(|segment| asks(&segment.rule)) {
        let what = "with risk.mode = \"economic\" a segment rule may not ask for model_tier: the \
                    tier depends on the segment";
        issues.add(1, PolicyIssueKind::Conflict { what });
    }
}

/// What `[risk]` says.
struct Risk {
    tier_mode: TierMode,
    red_prob_min: f64,
    overrides: Vec<Override>,
    /// Ids of the campaigns whose expected value makes a customer red, with their lines.
    makes_red: Vec<At<Box<str>>>,
}

fn clv_basis(top: &mut Section<'_>, issues: &mut Issues) -> ClvBasis {
    let Some(mut value) = top.section("value", issues) else { return ClvBasis::Revenue };
    let basis =
        one_of(value.text("clv_basis", issues), "value.clv_basis", &["revenue", "margin"], issues);
    let share = value.number_maybe("margin_share", SHARE, issues);
    let line = value.line;
    value.finish(issues);
    match (basis, share) {
        (Some("margin"), Some(share)) if share > 0.0 => ClvBasis::Margin(share),
        (Some("margin"), _) => {
            let what = "clv_basis = \"margin\" needs a margin_share above 0";
            issues.add(line, PolicyIssueKind::Conflict { what });
            ClvBasis::Revenue
        }
        (Some(_), Some(_)) => {
            let what = "margin_share goes with clv_basis = \"margin\" only";
            issues.add(line, PolicyIssueKind::Conflict { what });
            ClvBasis::Revenue
        }
        _ => ClvBasis::Revenue,
    }
}

fn lapse_rule(top: &mut Section<'_>, issues: &mut Issues) -> LapseRule {
    let Some(mut rhythm) = top.section("rhythm", issues) else {
        return LapseRule { slipping_at: 0.0, lapsed_at: 0.0, hard_lapsed_days: 0.0 };
    };
    let rule = LapseRule {
        slipping_at: rhythm.number("slipping_at", SHARE, issues),
        lapsed_at: rhythm.number("lapsed_at", SHARE, issues),
        hard_lapsed_days: rhythm.number("lapsed_after_days", DAYS, issues),
    };
    if rule.lapsed_at > rule.slipping_at {
        let what =
            "rhythm.lapsed_at is greater than rhythm.slipping_at: lapsed is the rarer silence";
        issues.add(rhythm.line, PolicyIssueKind::Conflict { what });
    }
    rhythm.finish(issues);
    rule
}

fn sticky(top: &mut Section<'_>, issues: &mut Issues) -> Sticky {
    let mut sticky = Sticky { activities: Vec::new(), regular_uses_28d_min: 0 };
    let Some(mut section) = top.section("sticky", issues) else { return sticky };
    for at in section.texts("activities", issues) {
        match Name::try_new(at.it) {
            Ok(name) => sticky.activities.push(name),
            Err(_) => bad_text(at, "sticky.activities", "a name of 1 to 64 bytes", issues),
        }
    }
    sticky.regular_uses_28d_min = section.count("regular_uses_28d_min", MESSAGES_MAX, issues);
    section.finish(issues);
    sticky
}

fn risk(top: &mut Section<'_>, issues: &mut Issues) -> Risk {
    let Some(mut risk) = top.section("risk", issues) else {
        let tier_mode = TierMode::Capacity { red_share: 0.0, amber_share: 0.0 };
        return Risk { tier_mode, red_prob_min: 0.0, overrides: Vec::new(), makes_red: Vec::new() };
    };
    let modes = ["capacity", "fixed", "economic"];
    let mode = one_of(risk.text("mode", issues), "risk.mode", &modes, issues);
    let tier_mode = tier_mode(&mut risk, mode, issues);
    let makes_red = match risk.texts_maybe("red_if_worth", issues) {
        Some(_) if mode != Some("economic") => Vec::new(),
        Some(list) => list.it.iter().map(|at| At { line: at.line, it: at.it.into() }).collect(),
        None => {
            if mode == Some("economic") {
                let (table, key) = ("risk".to_owned(), "red_if_worth");
                issues.add(risk.line, PolicyIssueKind::MissingKey { table, key });
            }
            Vec::new()
        }
    };
    let red_prob_min = risk.number_maybe("red_probability_min", SHARE, issues).unwrap_or(0.0);
    let overrides = risk.sections("override", issues);
    let overrides = overrides.into_iter().map(|section| tier_override(section, issues)).collect();
    risk.finish(issues);
    Risk { tier_mode, red_prob_min, overrides, makes_red }
}

fn tier_mode(risk: &mut Section<'_>, mode: Option<&str>, issues: &mut Issues) -> TierMode {
    match mode {
        Some(shares @ ("capacity" | "economic")) => {
            let red_share = risk.number("red_share", SHARE, issues);
            let amber_share = risk.number("amber_share", SHARE, issues);
            if red_share + amber_share > 1.0 + 1e-12 {
                let what = "risk.red_share and risk.amber_share are together more than 1";
                issues.add(risk.line, PolicyIssueKind::Conflict { what });
            }
            // The other mode's numbers may stay in the file; they mean nothing now.
            risk.number_maybe("red_probability", SHARE, issues);
            risk.number_maybe("amber_probability", SHARE, issues);
            match shares {
                "economic" => TierMode::Economic { elevated_share: red_share + amber_share },
                _ => TierMode::Capacity { red_share, amber_share },
            }
        }
        _ => {
            let is_fixed = mode == Some("fixed");
            let mut bound = |key, issues: &mut Issues| match is_fixed {
                true => risk.number(key, SHARE, issues),
                false => risk.number_maybe(key, SHARE, issues).unwrap_or(0.0),
            };
            let red_prob = bound("red_probability", issues);
            let amber_prob = bound("amber_probability", issues);
            if amber_prob > red_prob {
                let what = "risk.amber_probability is greater than risk.red_probability";
                issues.add(risk.line, PolicyIssueKind::Conflict { what });
            }
            risk.number_maybe("red_share", SHARE, issues);
            risk.number_maybe("amber_share", SHARE, issues);
            TierMode::Fixed(TierCuts { red_prob, amber_prob })
        }
    }
}

fn tier_override(mut section: Section<'_>, issues: &mut Issues) -> Override {
    let names = ["amber", "red"];
    let tier = one_of(section.text("tier", issues), "risk.override.tier", &names, issues);
    let found = Override {
        tier: tier.and_then(Tier::parse).unwrap_or(Tier::Amber),
        rule: rule(&mut section, Place::Override, issues),
        reason: reason_code(section.text("reason", issues), "risk.override.reason", issues),
        why: section.text("why", issues).map_or("", |at| at.it).into(),
    };
    section.finish(issues);
    found
}

/// The segments, and the line of each.
fn segments(top: &mut Section<'_>, issues: &mut Issues) -> (Vec<SegmentRule>, Vec<usize>) {
    // A rule that could not be read is empty, and neither hides others nor is hidden.
    let mut found: Vec<(usize, SegmentRule)> = Vec::new();
    let tables = top.sections("segment", issues);
    if tables.is_empty() {
        issues.add(top.line, PolicyIssueKind::Empty { key: "segment".to_owned() });
    }
    for mut section in tables {
        let line = section.line;
        let id = section.text("id", issues);
        let name = one_of(id, "segment.id", &Segment::ALL.map(Segment::as_str), issues);
        let phase = section.text("phase", issues);
        let phase = one_of(phase, "segment.phase", &Phase::ALL.map(Phase::as_str), issues);
        let rule = rule(&mut section, Place::Segment, issues);
        let why = section.text("why", issues).map_or("", |at| at.it).into();
        section.finish(issues);
        let Some(segment) = name.and_then(Segment::parse) else { continue };
        let phase = phase.and_then(Phase::parse).unwrap_or(Phase::None);
        if let Some((first_line, _)) = found.iter().find(|(_, other)| other.segment == segment) {
            let (name, first_line) = (segment.as_str().to_owned(), *first_line);
            issues.add(line, PolicyIssueKind::Duplicate { what: "segment", name, first_line });
        }
        let shadow = found.iter().find(|(_, earlier)| {
            !rule.any().is_empty() && !earlier.rule.any().is_empty() && earlier.rule.covers(&rule)
        });
        if let Some((earlier_line, earlier)) = shadow {
            let kind = PolicyIssueKind::Shadowed {
                segment: segment.as_str().to_owned(),
                earlier: earlier.segment.as_str().to_owned(),
                earlier_line: *earlier_line,
            };
            issues.add(line, kind);
        }
        found.push((line, SegmentRule { segment, phase, rule, why }));
    }
    let (lines, rules): (Vec<usize>, Vec<SegmentRule>) = found.into_iter().unzip();
    (rules, lines)
}

type Caps = [Option<ChannelCaps>; Channel::ALL.len()];

fn channels(top: &mut Section<'_>, issues: &mut Issues) -> ([bool; Channel::ALL.len()], Caps) {
    let mut assume = [false; Channel::ALL.len()];
    if let Some(mut section) = top.section("channels", issues) {
        for at in section.texts("assume_reachable", issues) {
            if let Some(channel) = channel(at, "channels.assume_reachable", issues) {
                assume[channel.index()] = true;
            }
        }
        section.finish(issues);
    }
    let mut caps: Caps = [None; Channel::ALL.len()];
    let Some(tables) = top.section("channel", issues) else { return (assume, caps) };
    for (at, table) in tables.keyed(issues) {
        let Some(channel) = channel(at, "channel", issues) else { continue };
        let Some(mut table) = table else {
            let key = format!("channel.{}", at.it);
            let (expected, found) = ("a table", "something else".to_owned());
            issues.add(at.line, PolicyIssueKind::WrongType { key, expected, found });
            continue;
        };
        caps[channel.index()] = Some(ChannelCaps {
            gap_hours_min: table.number("gap_hours_min", HOURS, issues),
            messages_7d_max: table.count("messages_7d_max", MESSAGES_MAX, issues),
            messages_28d_max: table.count("messages_28d_max", MESSAGES_MAX, issues),
        });
        table.finish(issues);
    }
    (assume, caps)
}

fn gates(top: &mut Section<'_>, issues: &mut Issues) -> Gates {
    let mut gates = Gates {
        messages_7d_max: 0,
        quiet_after_order_days: 0.0,
        global_control_share: 0.0,
        explore_share: 0.0,
        salt: SaltSource::Generated,
        quiet_hours: None,
        facts_age_hours_max: 0.0,
        block_out_of_distribution: true,
        comfort: Rule::default(),
        comfort_gap_days: 0.0,
    };
    let Some(mut section) = top.section("gates", issues) else { return gates };
    gates.messages_7d_max = section.count("messages_7d_max", MESSAGES_MAX, issues);
    gates.facts_age_hours_max = section.number("facts_age_hours_max", HOURS, issues);
    gates.block_out_of_distribution = section.flag("block_out_of_distribution", true, issues);
    section.finish(issues);
    gates
}

fn discount_guard(top: &mut Section<'_>, issues: &mut Issues) -> DiscountGuard {
    let mut guard =
        DiscountGuard { kinds: Vec::new(), allow: Rule::default(), discount_share_max: 0.0 };
    let Some(mut section) = top.section("discount_guard", issues) else { return guard };
    for at in section.texts("kinds", issues) {
        guard.kinds.extend(offer_kind(Some(at), "discount_guard.kinds", issues));
    }
    guard.allow = rule(&mut section, Place::Campaign, issues);
    guard.discount_share_max = section.number("discount_share_max", SHARE, issues);
    section.finish(issues);
    guard
}

/// How campaigns are chosen, and what each must bring at least.
fn arbitration(top: &mut Section<'_>, issues: &mut Issues) -> (Arbitration, f64) {
    let Some(mut section) = top.section("arbitration", issues) else {
        return (Arbitration::Priority, 0.0);
    };
    let mode = match section.text("mode", issues) {
        Some(At { line, it: it @ "learned" }) => {
            not_supported("arbitration.mode", it, "expected_value", line, issues);
            None
        }
        other => one_of(other, "arbitration.mode", &["priority", "expected_value"], issues),
    };
    let least = section.number_maybe("expected_value_min", AMOUNT, issues).unwrap_or(0.0);
    section.finish(issues);
    match mode {
        Some("expected_value") => (Arbitration::ExpectedValue, least),
        _ => (Arbitration::Priority, least),
    }
}

/// The rule of a table: `when` or `any`.
pub(crate) fn rule(section: &mut Section<'_>, place: Place, issues: &mut Issues) -> Rule {
    let n_before = issues.found.len();
    let when = section.texts_maybe("when", issues);
    let any = section.text_lists_maybe("any", issues);
    let lists = match (when, any) {
        (Some(when), None) => vec![when.it],
        (None, Some(any)) => any.it,
        _ => {
            // A list of the wrong type was already said to be one.
            if issues.found.len() == n_before {
                let table = section.name.clone();
                issues.add(section.line, PolicyIssueKind::WhenOrAny { table });
            }
            return Rule::default();
        }
    };
    if lists.is_empty() || lists.iter().any(Vec::is_empty) {
        let key = section.path("when");
        issues.add(section.line, PolicyIssueKind::Empty { key });
    }
    let mut compiled = Vec::with_capacity(lists.len());
    for list in lists {
        let mut tests = Vec::with_capacity(list.len());
        for at in list {
            match compile(at.it).and_then(|test| known_here(test.fact, at.it, place).map(|()| test))
            {
                Ok(test) => tests.push(test),
                Err(kind) => issues.add(at.line, kind),
            }
        }
        compiled.push(tests);
    }
    if issues.found.len() > n_before {
        // Half a rule asks for less than was meant: nothing may be concluded from it.
        return Rule::default();
    }
    for (idx, all) in compiled.iter().enumerate() {
        if let Some(what) = reach::contradiction(all) {
            let list = if compiled.len() > 1 { idx + 1 } else { 0 };
            let rule = format!("[{}]", section.name);
            issues.add(section.line, PolicyIssueKind::Impossible { rule, list, what });
        }
    }
    Rule::new(compiled)
}

/// Segment and risk are decided on the way: a rule may not ask for what comes after it.
fn known_here(fact: Fact, text: &str, place: Place) -> Result<(), PolicyIssueKind> {
    let place = match (place, fact) {
        (Place::Segment, Fact::SegmentOf | Fact::Risk) => "a segment rule",
        (Place::Override, Fact::Risk) => "an override of the risk tier",
        _ => return Ok(()),
    };
    Err(PolicyIssueKind::TooEarly { text: text.to_owned(), fact: fact.as_str(), place })
}

/// One of a closed set of names.
pub(crate) fn one_of<'t>(
    at: Option<At<&'t str>>,
    key: &str,
    names: &[&str],
    issues: &mut Issues,
) -> Option<&'t str> {
    let at = at?;
    if names.contains(&at.it) {
        return Some(at.it);
    }
    let kind = PolicyIssueKind::UnknownName {
        key: key.to_owned(),
        found: at.it.to_owned(),
        expected: names.join(", "),
        did_you_mean: nearest(at.it, names.iter().copied()),
    };
    issues.add(at.line, kind);
    None
}

pub(crate) fn channel(at: At<&str>, key: &str, issues: &mut Issues) -> Option<Channel> {
    let name = one_of(Some(at), key, &Channel::ALL.map(Channel::as_str), issues)?;
    Channel::parse(name).ok()
}

pub(crate) fn offer_kind(
    at: Option<At<&str>>,
    key: &str,
    issues: &mut Issues,
) -> Option<OfferKind> {
    let name = one_of(at, key, &OfferKind::ALL.map(OfferKind::as_str), issues)?;
    OfferKind::ALL.into_iter().find(|kind| kind.as_str() == name)
}

/// A code such as `HEARTBEAT_DROP`.
pub(crate) fn reason_code(at: Option<At<&str>>, key: &str, issues: &mut Issues) -> Box<str> {
    let Some(at) = at else { return "".into() };
    let fits =
        |letter: char| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_';
    if at.it.is_empty() || at.it.len() > 64 || !at.it.chars().all(fits) {
        bad_text(at, key, "a code of capital letters, digits and _", issues);
    }
    at.it.into()
}

pub(crate) fn bad_text(at: At<&str>, key: &str, expected: &'static str, issues: &mut Issues) {
    let kind = PolicyIssueKind::BadText { key: key.to_owned(), found: at.it.to_owned(), expected };
    issues.add(at.line, kind);
}

fn not_supported(
    key: &'static str,
    found: &str,
    instead: &'static str,
    line: usize,
    issues: &mut Issues,
) {
    issues.add(line, PolicyIssueKind::NotSupported { key, found: found.to_owned(), instead });
}
