//! The part of a policy that says how some facts are worked out: heartbeat, promised support
//! times, milestones of spend.
//!
//! In: the tables `[heartbeat]`, `[support]` and `[loyalty]`, each of which may be absent. Out:
//! numbers for those who work out the facts. It deliberately works out no fact.

use crate::decision::issue::PolicyIssueKind;
use crate::decision::read::Issues;
use crate::decision::read::Section;
use crate::features::HeartbeatMode;
use crate::features::HeartbeatRule;

/// Hours within which a ticket is to be resolved where the policy does not say.
const SLA_HOURS: f64 = 72.0;
const HOURS_MAX: f64 = 24.0 * 365.0;
const MONEY_MAX: f64 = 1e12;

/// How facts are worked out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FactRule {
    /// When activity, orders or spend drop or rise.
    pub heartbeat: HeartbeatRule,
    /// Hours within which a ticket is to be resolved.
    pub sla_hours: f64,
    /// A milestone of spend is each multiple of this, in units of the currency; 0: there is none.
    pub spend_milestone: f64,
}

impl Default for FactRule {
    fn default() -> Self {
        Self { heartbeat: HeartbeatRule::default(), sla_hours: SLA_HOURS, spend_milestone: 0.0 }
    }
}

impl FactRule {
    /// One line that is equal for equal meanings.
    pub(crate) fn canonical(&self) -> String {
        let HeartbeatRule { mode, ratio_drop, ratio_rise, enter_prob, leave_prob, expected_min } =
            self.heartbeat;
        format!(
            "{mode:?} {ratio_drop} {ratio_rise} {enter_prob} {leave_prob} {expected_min} {} {}",
            self.sla_hours, self.spend_milestone
        )
    }
}

/// Reads the three tables.
pub(crate) fn fact_rule(top: &mut Section<'_>, issues: &mut Issues) -> FactRule {
    let mut rule = FactRule::default();
    if let Some(mut heartbeat) = top.section_maybe("heartbeat", issues) {
        read_heartbeat(&mut heartbeat, &mut rule.heartbeat, issues);
        heartbeat.finish(issues);
    }
    if let Some(mut support) = top.section_maybe("support", issues) {
        let hours = support.number_maybe("sla_hours", (0.0, HOURS_MAX), issues);
        rule.sla_hours = hours.unwrap_or(rule.sla_hours);
        support.finish(issues);
    }
    if let Some(mut loyalty) = top.section_maybe("loyalty", issues) {
        let step = loyalty.number_maybe("spend_milestone", (0.0, MONEY_MAX), issues);
        rule.spend_milestone = step.unwrap_or(rule.spend_milestone);
        loyalty.finish(issues);
    }
    rule
}

fn read_heartbeat(table: &mut Section<'_>, rule: &mut HeartbeatRule, issues: &mut Issues) {
    if let Some(at) = table.text_maybe("mode", issues) {
        rule.mode = match at.it {
            "probability" => HeartbeatMode::Probability,
            "literal" => HeartbeatMode::Literal,
            found => {
                let (key, found) = ("heartbeat.mode".to_owned(), format!("{found:?}"));
                let expected = "\"probability\" or \"literal\"";
                issues.add(at.line, PolicyIssueKind::WrongType { key, expected, found });
                rule.mode
            }
        };
    }
    let leave_min = HeartbeatRule::LEAVE_PROB_MIN;
    let mut number = |key, bounds, slot: &mut f64| {
        *slot = table.number_maybe(key, bounds, issues).unwrap_or(*slot);
    };
    number("ratio_drop", (0.05, 0.99), &mut rule.ratio_drop);
    number("ratio_rise", (1.01, 20.0), &mut rule.ratio_rise);
    number("enter_prob", (leave_min, 0.9999), &mut rule.enter_prob);
    number("leave_prob", (leave_min, 0.9999), &mut rule.leave_prob);
    number("expected_min", (1.0, 100.0), &mut rule.expected_min);
    if rule.leave_prob > rule.enter_prob {
        let what = "heartbeat.leave_prob is greater than heartbeat.enter_prob";
        issues.add(table.line, PolicyIssueKind::Conflict { what });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::policy::Policy;

    fn with(table: &str) -> Result<FactRule, String> {
        let text = Policy::default_text();
        let start = text.find("[heartbeat]").unwrap();
        let end = start + text[start..].find("[sticky]").unwrap();
        let text = format!("{}{table}\n{}", &text[..start], &text[end..]);
        Policy::parse(&text).map(|policy| *policy.fact_rule()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_tables_may_be_absent_and_the_default_file_says_the_defaults() {
        assert_eq!(with("").unwrap(), FactRule::default());
        let policy = Policy::default_policy().unwrap();
        assert_eq!(*policy.fact_rule(), FactRule::default());
    }

    #[test]
    fn what_they_say_counts_and_what_is_wrong_is_named() {
        let literal = with("[heartbeat]\nmode = \"literal\"\n[support]\nsla_hours = 24").unwrap();
        assert_eq!(literal.heartbeat.mode, HeartbeatMode::Literal);
        assert!((literal.sla_hours - 24.0).abs() < 1e-12);
        for (table, named) in [
            ("[heartbeat]\nmode = \"plain\"", "heartbeat.mode"),
            ("[heartbeat]\nleave_prob = 0.5", "heartbeat.leave_prob"),
            ("[heartbeat]\nenter_prob = 0.8\nleave_prob = 0.9", "leave_prob is greater"),
            ("[heartbeat]\nratio = 0.5", "ratio"),
            ("[loyalty]\nspend_milestone = -5", "loyalty.spend_milestone"),
        ] {
            let error = with(table).unwrap_err();
            assert!(error.contains(named), "{table}: {error}");
        }
    }
}
