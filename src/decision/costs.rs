//! The costs and effects of a policy file.
//!
//! In: `[economics]` and the keys of a campaign that go with it. Out: numbers with every default
//! filled in, or what is missing. It deliberately works out no value.

use crate::decision::check::SHARE;
use crate::decision::check::bad_text;
use crate::decision::check::channel;
use crate::decision::check::offer_kind;
use crate::decision::economics::CampaignEconomics;
use crate::decision::economics::Economics;
use crate::decision::economics::shrunk_effect;
use crate::decision::issue::PolicyIssueKind;
use crate::decision::policy::OfferKind;
use crate::decision::read::At;
use crate::decision::read::Issues;
use crate::decision::read::Section;
use crate::domain::Channel;
use crate::domain::Currency;

/// Bounds of an amount, in currency units.
const AMOUNT: (f64, f64) = (0.0, 1e9);
/// Bounds of an effect on a probability.
const EFFECT: (f64, f64) = (-1.0, 1.0);

/// `[economics]`, which may be absent.
pub(crate) fn economics(top: &mut Section<'_>, issues: &mut Issues) -> Option<Economics> {
    let mut section = top.section_maybe("economics", issues)?;
    let currency = section.text("currency", issues);
    let found = Economics {
        currency: currency.map_or(Currency::NONE, |at| read_currency(at, issues)),
        clv_if_unknown: section.number("clv_if_unknown", AMOUNT, issues),
        effect_mean: section.number("effect_mean", EFFECT, issues),
        effect_sd: section.number("effect_sd", SHARE, issues),
        channel_cost: channel_costs(&mut section, issues),
        offer_cost: offer_costs(&mut section, issues),
    };
    section.finish(issues);
    Some(found)
}

fn read_currency(at: At<&str>, issues: &mut Issues) -> Currency {
    Currency::try_new(at.it).unwrap_or_else(|_| {
        bad_text(at, "economics.currency", "a code of three letters such as EUR", issues);
        Currency::NONE
    })
}

fn channel_costs(section: &mut Section<'_>, issues: &mut Issues) -> [f64; Channel::ALL.len()] {
    let mut costs = [0.0; Channel::ALL.len()];
    let Some(table) = section.section_maybe("channel_cost", issues) else { return costs };
    for (at, cost) in table.amounts(AMOUNT, issues) {
        if let Some(channel) = channel(at, "economics.channel_cost", issues) {
            costs[channel.index()] = cost.unwrap_or(0.0);
        }
    }
    costs
}

fn offer_costs(
    section: &mut Section<'_>,
    issues: &mut Issues,
) -> [Option<f64>; OfferKind::ALL.len()] {
    let mut costs = [None; OfferKind::ALL.len()];
    let Some(table) = section.section_maybe("offer_cost", issues) else { return costs };
    for (at, cost) in table.amounts(AMOUNT, issues) {
        if let Some(kind) = offer_kind(Some(at), "economics.offer_cost", issues) {
            costs[kind.index()] = cost;
        }
    }
    costs
}

/// The keys of a campaign about money. They may stand there without `[economics]`, and then mean
/// nothing.
pub(crate) fn of_campaign(
    table: &mut Section<'_>,
    economics: Option<&Economics>,
    offer: OfferKind,
    issues: &mut Issues,
) -> Option<CampaignEconomics> {
    let cost = table.number_maybe("cost", AMOUNT, issues).unwrap_or(0.0);
    let offer_cost = table.number_maybe("offer_cost", AMOUNT, issues);
    let accept_prob = table.number_maybe("accept_prob", SHARE, issues).unwrap_or(1.0);
    let effect = table.number_maybe("effect", EFFECT, issues);
    let noise = table.number_maybe("effect_standard_error", SHARE, issues);
    if effect.is_some() != noise.is_some() {
        let what = "effect and effect_standard_error go together: a measured effect without its \
                    error cannot be weighed";
        issues.add(table.line, PolicyIssueKind::Conflict { what });
    }
    let economics = economics?;
    let offer_cost = offer_cost.or(economics.offer_cost[offer.index()]);
    if offer != OfferKind::None && offer_cost.is_none() {
        let kind = PolicyIssueKind::NoOfferCost { offer: offer.as_str() };
        issues.add(table.line, kind);
    }
    Some(CampaignEconomics {
        cost,
        offer_cost: offer_cost.unwrap_or(0.0),
        accept_prob,
        effect: shrunk_effect(effect.zip(noise), economics.effect_mean, economics.effect_sd),
    })
}
