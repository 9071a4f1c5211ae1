//! The campaigns of a policy file, and the lists that name them.
//!
//! In: the `[[campaign]]` tables, and `[comfort]`, `[quiet]` and `[experiment]` with their lists of
//! campaigns. Out: campaigns by priority, each knowing which gates it may pass. It deliberately
//! decides nothing about a customer.

use crate::decision::check::DAYS;
use crate::decision::check::Place;
use crate::decision::check::SHARE;
use crate::decision::check::bad_text;
use crate::decision::check::channel;
use crate::decision::check::offer_kind;
use crate::decision::check::one_of;
use crate::decision::check::reason_code;
use crate::decision::check::rule;
use crate::decision::costs;
use crate::decision::economics::Economics;
use crate::decision::issue::PolicyIssueKind;
use crate::decision::issue::nearest;
use crate::decision::policy::CAMPAIGN_NUMBERS;
use crate::decision::policy::CUSTOM_NUMBER;
use crate::decision::policy::Campaign;
use crate::decision::policy::CampaignKind;
use crate::decision::policy::ChannelCaps;
use crate::decision::policy::Gates;
use crate::decision::policy::NO_ACTION;
use crate::decision::policy::OfferKind;
use crate::decision::policy::SaltSource;
use crate::decision::policy::TargetKind;
use crate::decision::read::At;
use crate::decision::read::Issues;
use crate::decision::read::Section;
use crate::domain::Channel;

/// Least urgent priority.
const PRIORITY_MAX: u32 = 9_999;
/// Most campaigns a policy may have: each costs time in every decision.
const CAMPAIGNS_MAX: usize = 500;

/// Shortest salt, in bytes: shorter ones are guessed, or used twice.
pub(crate) const SALT_BYTES_MIN: usize = 8;

/// Most versions of one campaign.
const VARIANTS_MAX: usize = 20;
/// Bounds of an hour of the day.
const HOUR: (f64, f64) = (0.0, 24.0);

/// What stands elsewhere in the file and is about campaigns.
#[derive(Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) caps: &'a [Option<ChannelCaps>],
    pub(crate) economics: Option<&'a Economics>,
    /// `risk.red_if_worth`.
    pub(crate) makes_red: Vec<At<Box<str>>>,
}

/// Lists that give campaigns their way through the gates.
#[derive(Debug, Default)]
struct Lists<'t> {
    control_share: f64,
    makes_red: Vec<At<&'t str>>,
    never_hold_out: Vec<At<&'t str>>,
    comfort_allow: Vec<At<&'t str>>,
    comfort_gap_exempt: Vec<At<&'t str>>,
    quiet_allow: Vec<At<&'t str>>,
}

/// Reads the campaigns by priority with their lines, and into `gates` the three tables that name
/// them.
pub(crate) fn campaigns(
    top: &mut Section<'_>,
    around: &Surroundings<'_>,
    gates: &mut Gates,
    issues: &mut Issues,
) -> (Vec<Campaign>, Vec<usize>) {
    let mut lists = lists(top, gates, issues);
    let makes_red = around.makes_red.iter();
    lists.makes_red = makes_red.map(|at| At { line: at.line, it: &*at.it }).collect();
    let tables = top.sections("campaign", issues);
    if tables.is_empty() || tables.len() > CAMPAIGNS_MAX {
        let (key, found) = ("number of campaigns".to_owned(), tables.len());
        #[allow(clippy::cast_precision_loss, reason = "a file of 1 MiB has few tables")]
        let (found, max) = (found as f64, CAMPAIGNS_MAX as f64);
        issues.add(top.line, PolicyIssueKind::OutOfRange { key, found, min: 1.0, max });
    }
    let mut found: Vec<(usize, Campaign)> = Vec::with_capacity(tables.len());
    for table in tables {
        let line = table.line;
        let campaign = campaign(table, &lists, around.economics, issues);
        check_unique(&found, line, &campaign, issues);
        for channel in &campaign.channels {
            if around.caps[channel.index()].is_none() {
                let (campaign, channel) = (campaign.id.to_string(), channel.as_str());
                issues.add(line, PolicyIssueKind::ChannelWithoutCaps { campaign, channel });
            }
        }
        found.push((line, campaign));
    }
    check_lists(&lists, &found, issues);
    found.sort_by_key(|(_, campaign)| campaign.priority);
    check_never_held_out(&found, issues);
    let (lines, campaigns) = found.into_iter().unzip();
    (campaigns, lines)
}

fn lists<'t>(top: &mut Section<'t>, gates: &mut Gates, issues: &mut Issues) -> Lists<'t> {
    let mut lists = Lists::default();
    if let Some(mut section) = top.section("comfort", issues) {
        gates.comfort = rule(&mut section, Place::Campaign, issues);
        gates.comfort_gap_days = section.number("gap_days_min", DAYS, issues);
        lists.comfort_allow = section.texts("allow", issues);
        lists.comfort_gap_exempt = section.texts("gap_exempt", issues);
        section.finish(issues);
    }
    if let Some(mut section) = top.section("quiet", issues) {
        gates.quiet_after_order_days = section.number("after_order_days", DAYS, issues);
        gates.quiet_hours = quiet_hours(&mut section, issues);
        lists.quiet_allow = section.texts("allow", issues);
        section.finish(issues);
    }
    if let Some(mut section) = top.section("experiment", issues) {
        gates.global_control_share = section.number("global_control_share", SHARE, issues);
        lists.control_share = section.number("campaign_control_share", SHARE, issues);
        let explore = section.number_maybe("explore_share", SHARE, issues);
        gates.explore_share = explore.unwrap_or(0.0);
        gates.salt = salt(section.text("salt", issues), issues);
        lists.never_hold_out = section.texts("never_hold_out", issues);
        section.finish(issues);
    }
    lists
}

/// Both ends or none.
fn quiet_hours(section: &mut Section<'_>, issues: &mut Issues) -> Option<(f64, f64)> {
    let from = section.number_maybe("from_hour", HOUR, issues);
    let until = section.number_maybe("until_hour", HOUR, issues);
    if from.is_some() != until.is_some() {
        let what = "quiet.from_hour and quiet.until_hour go together";
        issues.add(section.line, PolicyIssueKind::Conflict { what });
    }
    from.zip(until)
}

fn salt(at: Option<At<&str>>, issues: &mut Issues) -> SaltSource {
    match at {
        None | Some(At { it: "generated", .. }) => SaltSource::Generated,
        Some(at) => {
            if at.it.trim().len() < SALT_BYTES_MIN || at.it.chars().any(char::is_control) {
                let expected = "\"generated\" or a text of at least 8 letters";
                bad_text(at, "experiment.salt", expected, issues);
            }
            SaltSource::Fixed(at.it.into())
        }
    }
}

fn campaign(
    mut table: Section<'_>,
    lists: &Lists<'_>,
    economics: Option<&Economics>,
    issues: &mut Issues,
) -> Campaign {
    let id = campaign_id(table.text("id", issues), issues);
    let is_in = |list: &[At<&str>]| list.iter().any(|at| at.it == id);
    let kinds = CampaignKind::ALL.map(CampaignKind::as_str);
    let kind = one_of(table.text_maybe("kind", issues), "campaign.kind", &kinds, issues);
    let targets = TargetKind::ALL.map(TargetKind::as_str);
    let target = one_of(table.text_maybe("target", issues), "campaign.target", &targets, issues);
    let objective = table.text("objective", issues);
    if let Some(at) = objective.filter(|at| !is_code(at.it)) {
        bad_text(at, "campaign.objective", "a code of small letters, digits and _", issues);
    }
    let priority = table.count("priority", PRIORITY_MAX, issues);
    let cost = table.number_maybe("cost_share_of_clv_max", SHARE, issues);
    let control = table.number_maybe("control_share", SHARE, issues);
    let offer = offer_kind(table.text("offer", issues), "campaign.offer", issues);
    let offer = offer.unwrap_or(OfferKind::None);
    let campaign = Campaign {
        number: campaign_number(id),
        priority: u16::try_from(priority).unwrap_or(u16::MAX),
        objective: objective.map_or("", |at| at.it).into(),
        reason: reason_code(table.text("reason", issues), "campaign.reason", issues),
        why: table.text("why", issues).map_or("", |at| at.it).into(),
        kind: CampaignKind::ALL
            .into_iter()
            .find(|known| Some(known.as_str()) == kind)
            .unwrap_or(CampaignKind::Marketing),
        non_buyers_only: table.flag("non_buyers_only", false, issues),
        rule: rule(&mut table, Place::Campaign, issues),
        channels: channels_of(&mut table, issues),
        offer,
        economics: costs::of_campaign(&mut table, economics, offer, issues),
        variants: variants(&mut table, issues),
        makes_red: is_in(&lists.makes_red),
        target: TargetKind::ALL.into_iter().find(|known| Some(known.as_str()) == target),
        cooldown_days: table.number("cooldown_days", DAYS, issues),
        ttl_days: table.number("ttl_days", DAYS, issues),
        cost_share_of_clv_max: cost.unwrap_or(1.0),
        control_share: control.unwrap_or(lists.control_share),
        never_held_out: is_in(&lists.never_hold_out),
        allowed_in_comfort: is_in(&lists.comfort_allow),
        free_of_comfort_gap: is_in(&lists.comfort_gap_exempt),
        allowed_in_quiet: is_in(&lists.quiet_allow),
        id: id.into(),
    };
    table.finish(issues);
    campaign
}

fn campaign_id<'t>(at: Option<At<&'t str>>, issues: &mut Issues) -> &'t str {
    let Some(at) = at else { return "" };
    if !is_code(at.it) || at.it == NO_ACTION {
        let expected = "small letters, digits and _, at most 64, other than no_action";
        bad_text(at, "campaign.id", expected, issues);
    }
    at.it
}

fn is_code(text: &str) -> bool {
    let fits =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    (1..=64).contains(&text.len()) && text.chars().all(fits)
}

/// The wire number of a campaign id; [`CUSTOM_NUMBER`] for one that is not in the default policy.
fn campaign_number(id: &str) -> u16 {
    CAMPAIGN_NUMBERS
        .iter()
        .find(|(known, _)| *known == id)
        .map_or(CUSTOM_NUMBER, |(_, number)| *number)
}

fn channels_of(table: &mut Section<'_>, issues: &mut Issues) -> Vec<Channel> {
    let line = table.line;
    let mut channels: Vec<Channel> = Vec::new();
    for at in table.texts("channels", issues) {
        let Some(channel) = channel(at, "campaign.channels", issues) else { continue };
        if channels.contains(&channel) {
            let (name, first_line) = (channel.as_str().to_owned(), line);
            issues.add(at.line, PolicyIssueKind::Duplicate { what: "channel", name, first_line });
        } else {
            channels.push(channel);
        }
    }
    if channels.is_empty() {
        issues.add(line, PolicyIssueKind::Empty { key: "campaign.channels".to_owned() });
    }
    channels
}

/// The versions of a campaign: none, or at least two.
fn variants(table: &mut Section<'_>, issues: &mut Issues) -> Vec<Box<str>> {
    let Some(list) = table.texts_maybe("variants", issues) else { return Vec::new() };
    let mut found: Vec<Box<str>> = Vec::with_capacity(list.it.len());
    for at in &list.it {
        if !is_code(at.it) {
            bad_text(*at, "campaign.variants", "small letters, digits and _, at most 64", issues);
        }
        if found.iter().any(|known| **known == *at.it) {
            let (name, first_line) = (at.it.to_owned(), list.line);
            issues.add(at.line, PolicyIssueKind::Duplicate { what: "variant", name, first_line });
        }
        found.push(at.it.into());
    }
    if !(2..=VARIANTS_MAX).contains(&found.len()) {
        let what = "campaign.variants needs 2 to 20 names to compare, or must be left away";
        issues.add(list.line, PolicyIssueKind::Conflict { what });
    }
    found
}

fn check_unique(
    found: &[(usize, Campaign)],
    line: usize,
    campaign: &Campaign,
    issues: &mut Issues,
) {
    if let Some((first_line, _)) = found.iter().find(|(_, other)| other.id == campaign.id) {
        let (name, first_line) = (campaign.id.to_string(), *first_line);
        issues.add(line, PolicyIssueKind::Duplicate { what: "campaign", name, first_line });
    }
    if let Some((first_line, _)) = found.iter().find(|(_, one)| one.priority == campaign.priority) {
        let (name, first_line) = (campaign.priority.to_string(), *first_line);
        issues.add(line, PolicyIssueKind::Duplicate { what: "priority", name, first_line });
    }
}

fn check_lists(lists: &Lists<'_>, found: &[(usize, Campaign)], issues: &mut Issues) {
    let named = [
        ("experiment.never_hold_out", &lists.never_hold_out),
        ("comfort.allow", &lists.comfort_allow),
        ("comfort.gap_exempt", &lists.comfort_gap_exempt),
        ("quiet.allow", &lists.quiet_allow),
        ("risk.red_if_worth", &lists.makes_red),
    ];
    for (key, list) in named {
        for at in list {
            let mut ids = found.iter().map(|(_, campaign)| &*campaign.id);
            if ids.clone().any(|id| id == at.it) {
                continue;
            }
            let kind = PolicyIssueKind::UnknownName {
                key: key.to_owned(),
                found: at.it.to_owned(),
                expected: "the policy's campaigns".to_owned(),
                did_you_mean: nearest(at.it, &mut ids),
            };
            issues.add(at.line, kind);
        }
    }
}

/// The first eligible campaign is held out or not; one that never is must not wait behind it.
fn check_never_held_out(by_priority: &[(usize, Campaign)], issues: &mut Issues) {
    let mut first_held_out: Option<&Campaign> = None;
    for (line, campaign) in by_priority {
        if !campaign.never_held_out {
            first_held_out = first_held_out.or(Some(campaign));
        } else if let Some(before) = first_held_out {
            let (campaign, before) = (campaign.id.to_string(), before.id.to_string());
            issues.add(*line, PolicyIssueKind::NeverHeldOutTooLate { campaign, before });
        }
    }
}
