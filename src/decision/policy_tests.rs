//! Tests of reading policies: what is refused and how it is said, and what the hash stands for.

use crate::decision::fact::Fact;
use crate::decision::fact::FactKind;
use crate::decision::gates::SuppressionReason;
use crate::decision::issue::PolicyIssueKind as Kind;
use crate::decision::policy::CAMPAIGN_NUMBERS;
use crate::decision::policy::CUSTOM_NUMBER;
use crate::decision::policy::Policy;
use crate::decision::predicate::compile;
use crate::decision::segment::Segment;

fn text() -> String {
    Policy::default_text().replace("\r\n", "\n")
}

/// The default text with one change, which must apply.
fn changed(from: &str, to: &str) -> String {
    let text = text();
    assert!(text.contains(from), "the default policy has no {from:?}");
    text.replacen(from, to, 1)
}

fn hash(text: &str) -> [u8; 32] {
    Policy::parse(text).unwrap_or_else(|errors| panic!("{errors}")).id().hash
}

fn issues(text: &str) -> Vec<(usize, Kind)> {
    let Err(errors) = Policy::parse(text) else { panic!("the policy should be refused:\n{text}") };
    errors.issues.into_iter().map(|issue| (issue.line, issue.kind)).collect()
}

/// The line, from 1, in which `needle` first stands.
fn line_of(text: &str, needle: &str) -> usize {
    1 + text.lines().position(|line| line.contains(needle)).unwrap()
}

#[test]
fn the_default_policy_is_whole() {
    let policy = Policy::default_policy().unwrap();
    assert_eq!(policy.id().id, "default-retail");
    let segments: Vec<Segment> = policy.segments().map(|(segment, _, _)| segment).collect();
    assert_eq!(segments, Segment::ALL, "in the order of their numbers");
    let numbers: Vec<(&str, u16)> =
        policy.campaigns().iter().map(|one| (one.id(), one.number())).collect();
    assert_eq!(numbers, CAMPAIGN_NUMBERS);
    for campaign in policy.campaigns() {
        assert_eq!(campaign.number(), campaign.priority(), "{}", campaign.id());
    }
    assert!(policy.segments().all(|(_, _, why)| !why.is_empty()));
    assert!(policy.overrides().all(|(_, _, why)| !why.is_empty()));
    assert!(policy.campaigns().iter().all(|campaign| !campaign.why().is_empty()));
}

#[test]
fn the_hash_does_not_change_with_the_way_of_writing() {
    let original = hash(&text());
    let same = [
        ("a comment more", format!("{}\n# the end\n", text())),
        ("a why text", changed("Nothing is known yet: wait", "Wait")),
        ("white space in a condition", changed("\"open_tickets >= 1\"]", "\"open_tickets>=1\"]")),
        ("`=` for a list of one", changed("\"lapse = lapsed\"", "\"lapse in lapsed\"")),
        ("order in a list", changed("in steady|rise", "in rise|steady")),
        (
            "order in when",
            changed(
                "\"nps_last <= 6\", \"nps_age_days <= 180\"",
                "\"nps_age_days <= 180\", \"nps_last <= 6\"",
            ),
        ),
        ("a number's form", changed("red_share   = 0.10", "red_share = 1e-1")),
        ("the version", changed("2026-11-28.1", "2027-01-01.7")),
        ("the other mode's numbers", changed("red_probability   = 0.66", "red_probability = 0.7")),
        (
            "order of keys",
            changed(
                "red_share   = 0.10\namber_share = 0.20",
                "amber_share = 0.20\nred_share = 0.10",
            ),
        ),
        ("order of channels' tables", {
            let text = text();
            let (head, rest) = text.split_once("[channel.email]").unwrap();
            let (email, rest) = rest.split_once("[channel.push]").unwrap();
            let (push, rest) = rest.split_once("[channel.in_app]").unwrap();
            format!("{head}[channel.push]{push}[channel.email]{email}[channel.in_app]{rest}")
        }),
        ("order of campaigns' tables", {
            let text = text();
            let (rest, last) = text.rsplit_once("[[campaign]]").unwrap();
            let (head, tables) = rest.split_once("[[campaign]]").unwrap();
            format!("{head}[[campaign]]{last}\n[[campaign]]{tables}")
        }),
    ];
    for (what, text) in same {
        assert_eq!(hash(&text), original, "{what}");
    }
}

#[test]
fn the_hash_changes_with_every_meaning() {
    let changes = [
        ("clv_basis = \"revenue\"", "clv_basis = \"margin\"\nmargin_share = 0.3"),
        ("slipping_at       = 0.20", "slipping_at = 0.21"),
        ("lapsed_after_days = 365", "lapsed_after_days = 364"),
        ("\"pay_on_mobile\", ", ""),
        ("regular_uses_28d_min = 2", "regular_uses_28d_min = 3"),
        ("red_share   = 0.10", "red_share = 0.11"),
        ("amber_share = 0.20", "amber_share = 0.21"),
        ("mode        = \"capacity\"", "mode = \"fixed\""),
        ("red_probability_min = 0.0", "red_probability_min = 0.1"),
        ("tier   = \"amber\"", "tier = \"red\""),
        ("nps_last <= 6", "nps_last <= 5"),
        ("reason = \"OPEN_ISSUE\"", "reason = \"OPEN_ISSUES\""),
        ("\"lapse = slipping\", \"v >= 4\"", "\"lapse = slipping\", \"v > 4\""),
        ("phase = \"veneration\"", "phase = \"increased_value\""),
        ("gap_hours_min     = 16", "gap_hours_min = 17"),
        ("messages_28d_max  = 16", "messages_28d_max = 15"),
        ("messages_7d_max           = 4", "messages_7d_max = 5"),
        ("facts_age_hours_max       = 72", "facts_age_hours_max = 71"),
        ("block_out_of_distribution = true", "block_out_of_distribution = false"),
        ("after_order_days = 3", "after_order_days = 4"),
        ("allow = [\"post_purchase_care\"]", "allow = []"),
        ("gap_days_min = 14", "gap_days_min = 13"),
        ("gap_exempt   = [\"cart_recovery\", \"milestone\"]", "gap_exempt = []"),
        ("kinds = [\"discount\"]", "kinds = [\"discount\", \"credit\"]"),
        ("[\"orders = 0\"], [\"orders = 1\"]", "[\"orders = 1\"]"),
        ("discount_share_max = 0.5", "discount_share_max = 0.4"),
        ("share_of_clv_max = 0.10", "share_of_clv_max = 0.2"),
        ("global_control_share   = 0.05", "global_control_share = 0.06"),
        ("campaign_control_share = 0.10", "campaign_control_share = 0.2"),
        ("salt = \"generated\"", "salt = \"something fixed\""),
        ("never_hold_out = [\"service_recovery\"]", "never_hold_out = []"),
        ("assume_reachable = [\"email\", ", "assume_reachable = ["),
        ("priority  = 15", "priority = 16"),
        ("[\"push\", \"email\", \"web_banner\"]", "[\"email\", \"push\", \"web_banner\"]"),
        ("offer     = \"credit\"", "offer = \"gift\""),
        ("target    = \"target_activity\"", ""),
        ("cooldown_days = 14", "cooldown_days = 15"),
        ("ttl_days  = 3", "ttl_days = 4"),
        ("non_buyers_only = true", "non_buyers_only = false"),
        ("kind      = \"service\"", ""),
        ("cost_share_of_clv_max = 0.02", "cost_share_of_clv_max = 0.03"),
        ("objective = \"convert\"", "objective = \"convert\"\ncontrol_share = 0.2"),
        ("id        = \"upsell\"", "id = \"upsell_now\""),
    ];
    let mut seen = vec![("the original", hash(&text()))];
    for (from, to) in changes {
        let mut text = changed(from, to);
        if from.contains("upsell") {
            text = text.replace("\"upsell\"", "\"upsell_now\"");
        }
        let hash = hash(&text);
        if let Some((other, _)) = seen.iter().find(|(_, known)| *known == hash) {
            panic!("{from} hashes like {other}");
        }
        seen.push((from, hash));
    }
}

#[test]
fn a_campaign_of_the_business_itself_is_custom() {
    let own = "[[campaign]]\nid = \"spring_fair\"\npriority = 84\nobjective = \"convert\"\n\
               when = [\"tags in vip|press\", \"top_category = Coffee & Tea\"]\n\
               channels = [\"email\"]\noffer = \"early_access\"\ncooldown_days = 30\n\
               ttl_days = 10\nreason = \"FAIR\"\nwhy = \"Invite them.\"\n";
    let policy = Policy::parse(&format!("{}\n{own}", text())).unwrap();
    let found = policy.campaigns().iter().find(|one| one.id() == "spring_fair").unwrap();
    assert_eq!(found.number(), CUSTOM_NUMBER);
    assert_eq!(policy.campaigns().len(), 29);
    assert!(policy.campaigns().is_sorted_by_key(|campaign| campaign.priority()));
}

#[test]
fn all_issues_are_found_at_once_with_lines_and_suggestions() {
    let text = text()
        .replacen("\"open_tickets >= 1\"]", "\"open_ticket >= 1\"]", 1)
        .replacen("\"lapse = lapsed\", \"v >= 4\"", "\"lapse = laspsed\", \"v >= 6\"", 1)
        .replacen("lapsed_after_days = 365", "lapsed_after_dais = 365", 1)
        .replacen("[\"human\", \"email\"]", "[\"humans\", \"email\"]", 1)
        .replacen("priority  = 20", "priority  = 15", 1)
        .replacen("red_share   = 0.10", "red_share = 10", 1)
        .replacen("\"vip_perk\", \"upsell\"", "\"vip_park\", \"upsell\"", 1);
    let found = issues(&text);
    let has = |needle: &str, wanted: &str| {
        let line = line_of(&text, needle);
        assert!(
            found.iter().any(|(at, kind)| *at == line && kind.to_string().contains(wanted)),
            "line {line}: {wanted}\n{found:#?}"
        );
    };
    has("open_ticket >= 1", "did you mean \"open_tickets\"");
    has("laspsed", "did you mean \"lapsed\"");
    has("laspsed", "\"v >= 6\" can never hold");
    has("lapsed_after_dais", "did you mean \"lapsed_after_days\"");
    has("[rhythm]", "lacks the key \"lapsed_after_days\"");
    has("\"humans\"", "did you mean \"human\"");
    has("red_share = 10", "a number from 0 to 1");
    has("vip_park", "did you mean \"vip_perk\"");
    let first = line_of(&text, "priority  = 15");
    assert!(
        found.iter().any(|(_, kind)| matches!(kind,
            Kind::Duplicate { what: "priority", first_line, .. } if first - 2 == *first_line)),
        "{found:#?}"
    );
    assert!(found.is_sorted_by_key(|(line, _)| *line));
}

#[test]
fn what_contradicts_itself_is_refused() {
    let refused = [
        (changed("id    = \"lost\"", "id = \"losst\""), "did you mean \"lost\""),
        (changed("id    = \"lost\"", "id = \"at_risk\""), "segment \"at_risk\" is already used"),
        (changed("\"lapse = lapsed\", \"v >= 4\"", "\"lapse = lapsed\""), "can never be reached"),
        (changed("[channel.sms]", "[channel.smss]"), "did you mean \"sms\""),
        (changed("[channel.sms]\n", "[channel.push.x]\n"), "no key \"x\""),
        (changed("mode = \"priority\"", "mode = \"expected_value\""), "need an [economics] table"),
        (changed("mode = \"priority\"", "mode = \"learned\""), "not supported yet"),
        (changed("mode        = \"capacity\"", "mode = \"economic\""), "need an [economics] table"),
        (changed("mode        = \"capacity\"", "mode = \"capacty\""), "did you mean \"capacity\""),
        (changed("red_share   = 0.10", "red_share = 0.9"), "together more than 1"),
        (changed("lapsed_at         = 0.05", "lapsed_at = 0.5"), "greater than rhythm.slipping_at"),
        (changed("clv_basis = \"revenue\"", "clv_basis = \"margin\""), "needs a margin_share"),
        (changed("id        = \"upsell\"", "id = \"no_action\""), "other than no_action"),
        (changed("reason    = \"AFFINITY\"", "reason = \"affinity\""), "capital letters"),
        (changed("salt = \"generated\"", "salt = \"x\""), "at least 8 letters"),
        (changed("priority  = 10", "priority = 95"), "never held out but less urgent"),
        (changed("when   = [\"open_tickets >= 1\"]", "when = []"), "is empty"),
        (changed("when   = [\"open_tickets >= 1\"]\n", ""), "needs either `when`"),
        (changed("when   = [\"open_tickets >= 1\"]", "when = [1]"), "a list of texts is needed"),
        (changed("[\"open_tickets >= 1\"]", "[\"risk = red\"]"), "not known yet in an override"),
        (changed("[\"orders >= 2\"]", "[\"segment = lost\"]"), "not known yet in a segment rule"),
        (changed("channels  = [\"human\", \"email\", \"sms\"]", "channels = []"), "is empty"),
        (changed("schema_version = 1", "schema_version = 2"), "from 1 to 1"),
        (changed("[offers]", "[offer]"), "did you mean \"offers\""),
        (changed("priority  = 10", "priority = 1.5"), "a whole number"),
        (changed("[gates]", "[gates"), "not valid TOML"),
        (String::new(), "lacks the key \"schema_version\""),
    ];
    for (text, wanted) in refused {
        let found = issues(&text);
        assert!(
            found.iter().any(|(_, kind)| kind.to_string().contains(wanted)),
            "{wanted}\n{found:#?}"
        );
    }
}

#[test]
fn rules_that_nobody_can_meet_are_refused_with_their_line() {
    let refused = [
        // Contradictions within a list.
        (
            "[\"orders >= 1\", \"lapse = lapsed\"]",
            "[\"orders >= 1\", \"orders < 1\"]",
            "exclude each other",
        ),
        ("\"cart_abandoned_hours <= 72\"", "\"cart_abandoned_hours < 1\"", "exclude each other"),
        ("\"replenish_due_ratio <= 2.0\"", "\"replenish_due_ratio <= 0.5\"", "exclude each other"),
        (
            "[\"open_tickets >= 1\", \"risk = red\"]",
            "[\"risk = green\", \"risk = red\"]",
            "in list 2 of `any`",
        ),
        (
            "\"loyalty_member = true\", \"orders = 2\"",
            "\"orders > 1\", \"orders < 2\"",
            "exclude each other",
        ),
        (
            "\"hb_activity in steady|rise\", \"breadth >= 0.5\"",
            "\"orders = 0\", \"lapse = current\"",
            "known of buyers only",
        ),
        // Segments and what they leave over.
        (
            "\"orders >= 2\", \"f = 5\", \"v = 5\"",
            "\"orders = 1\", \"f = 5\", \"v = 5\"",
            "can never be reached",
        ),
        (
            "when  = [\"orders >= 2\"]",
            "when  = [\"orders >= 2\", \"m <= 3\"]",
            "no segment takes a customer with",
        ),
        (
            "when  = [\"orders >= 2\", \"r >= 4\", \"f <= 2\"]",
            "when  = [\"orders >= 2\", \"f >= 3\", \"m >= 4\"]",
            "take everybody it asks for",
        ),
        // Campaigns against their own segment.
        (
            "\"segment = first_time\", \"days_since_order >= 7\"]\nchannels  = [\"email\", \"push\"]",
            "\"segment = first_time\", \"orders >= 2\"]\nchannels  = [\"email\", \"push\"]",
            "nobody with \"segment = first_time\" meets",
        ),
        (
            "\"segment = engaged_visitor\", \"visits >= 3\"",
            "\"segment = loyal_visitor\", \"has_email = false\"",
            "non-buyers only",
        ),
        (
            "when      = [\"segment = loyal_visitor\"]",
            "when      = [\"segment = champion\"]",
            "non-buyers only",
        ),
    ];
    for (from, to, wanted) in refused {
        let text = changed(from, to);
        let found = issues(&text);
        let at = found.iter().find(|(_, kind)| kind.to_string().contains(wanted));
        let Some((line, kind)) = at else { panic!("{from} -> {to}: {wanted}\n{found:#?}") };
        assert!((1..=text.lines().count()).contains(line), "{kind}");
    }
}

/// One segment can be dead by two earlier ones together, which no pair of rules shows.
#[test]
fn a_segment_covered_by_several_others_is_found() {
    let text = changed(
        "when  = [\"orders >= 1\", \"lapse = lapsed\"]",
        "any   = [[\"orders >= 1\", \"lapse = lapsed\"], [\"orders >= 1\", \"lapse = slipping\", \"v >= 4\"]]",
    );
    let found = issues(&text);
    let line = line_of(&text, "id    = \"at_risk\"") - 1;
    assert!(
        found.iter().any(|(at, kind)| *at == line && kind.to_string().contains("reached")),
        "{found:#?}"
    );
    let text = changed(
        "when  = [\"orders = 1\"]",
        "any   = [[\"orders = 1\"], [\"orders >= 2\", \"f <= 1\"]]",
    )
    .replacen(
        "when  = [\"orders >= 2\", \"f >= 3\", \"m >= 3\"]",
        "any   = [[\"orders >= 2\", \"f >= 3\", \"m >= 3\"], [\"orders >= 2\", \"f = 2\"]]",
        1,
    );
    let found = issues(&text);
    let wanted = "the segments before it take everybody";
    assert!(found.iter().any(|(_, kind)| kind.to_string().contains(wanted)), "{found:#?}");
}

#[test]
fn the_default_policys_segments_are_all_reached_on_the_grid() {
    for text in [text(), crate::decision::test_fixtures::by_value()] {
        let policy = Policy::parse(&text).unwrap();
        assert_eq!(crate::decision::reach::reached_segments(&policy), Segment::ALL);
    }
}

#[test]
fn a_predicate_says_what_is_wrong_with_it() {
    for (text, wanted) in [
        ("", "starts with a fact's name"),
        (">= 3", "starts with a fact's name"),
        ("orders", "one of = >= <= > < in"),
        ("orders >=", "nothing to compare with"),
        ("orders == 1", "single ="),
        ("segment != lost", "no negation"),
        ("order >= 1", "did you mean \"orders\""),
        ("orders >= many", "is a number, not \"many\""),
        ("orders >= NaN", "is a number"),
        ("orders >= inf", "is a number"),
        ("orders >= 1|2", "is a number"),
        ("orders in 1|x", "is a number, not \"x\""),
        ("orders < 0", "can never hold"),
        ("breadth > 1", "can never hold"),
        ("discount_share >= 50", "can never hold"),
        ("has_email = yes", "is true or false"),
        ("has_email = treu", "did you mean \"true\""),
        ("has_email > true", "has no >"),
        ("has_email in true|false", "has no in"),
        ("segment = champions", "did you mean \"champion\""),
        ("segment in lost|champions", "did you mean \"champion\""),
        ("risk >= amber", "has no >="),
        ("reachable = mail", "one of email"),
        ("persona > x", "has no >"),
        ("persona in a||b", "a name of 1 to 64 bytes"),
    ] {
        let issue = compile(text).expect_err(text).to_string();
        assert!(issue.contains(wanted), "{text}: {issue}");
    }
    for text in ["orders>=1", " orders  in  1 | 2 ", "reachable in email|sms", "persona = a b c"] {
        assert!(compile(text).is_ok(), "{text}");
    }
}

#[test]
fn every_fact_can_be_asked_for() {
    for fact in Fact::ALL.iter().copied() {
        let literal = match fact.kind() {
            FactKind::Number { .. } => "1".to_owned(),
            FactKind::Flag => "true".to_owned(),
            FactKind::OneOf(names) => names.join("|"),
            FactKind::Channels => "email|human".to_owned(),
            FactKind::Name | FactKind::Names => "anything".to_owned(),
        };
        let operator = if literal.contains('|') { "in" } else { "=" };
        let test = compile(&format!("{} {operator} {literal}", fact.as_str())).unwrap();
        assert_eq!(test.fact, fact);
    }
}

#[test]
fn any_text_is_read_without_a_panic() {
    let text = text();
    let lines: Vec<&str> = text.lines().collect();
    for skipped in 0..lines.len() {
        let without: Vec<&str> = lines
            .iter()
            .enumerate()
            .filter(|(idx, _)| *idx != skipped)
            .map(|(_, line)| *line)
            .collect();
        // Whatever comes out: a policy or issues with lines that exist.
        if let Err(errors) = Policy::parse(&without.join("\n")) {
            assert!(errors.issues.iter().all(|one| (1..=lines.len()).contains(&one.line)));
        }
    }
    for text in ["\0", "=", "[[segment]]", "segment = 3", "campaign = [1]", "[risk]\noverride = 1"]
    {
        assert!(Policy::parse(text).is_err(), "{text:?}");
    }
    assert!(Policy::parse(&" ".repeat(2 << 20)).is_err());
}

#[test]
fn the_page_for_marketers_names_every_fact_segment_campaign_and_reason() {
    const PAGE: &str = include_str!("../../docs/DECISIONS.md");
    let has_row = |name: &str, column: usize| {
        PAGE.lines().any(|line| line.split('|').nth(column).is_some_and(|cell| cell.trim() == name))
    };
    for fact in Fact::ALL {
        assert!(has_row(fact.as_str(), 1), "{}", fact.as_str());
    }
    let policy = Policy::default_policy().unwrap();
    for (segment, phase, _) in policy.segments() {
        assert!(PAGE.contains(&format!("| {segment} | {phase} |")), "{segment}");
    }
    for campaign in policy.campaigns() {
        let row = format!("| {} | {} |", campaign.priority(), campaign.id());
        assert!(PAGE.contains(&row), "{row}");
    }
    for reason in SuppressionReason::ALL {
        assert!(PAGE.contains(reason.as_str()), "{}", reason.as_str());
    }
}

#[test]
fn tier_cuts_come_from_the_sample_or_from_the_policy() {
    let scores: Vec<f64> = (0..100).map(|idx| f64::from(idx) / 100.0).collect();
    let cuts = |text: &str| Policy::parse(text).unwrap().tier_cuts(&scores).unwrap();
    let near = |one: f64, other: f64| (one - other).abs() < 1e-12;
    let capacity = cuts(&text());
    assert!(near(capacity.red_prob, 0.90) && near(capacity.amber_prob, 0.70), "{capacity:?}");
    let fixed = changed("mode        = \"capacity\"", "mode = \"fixed\"");
    assert!(Policy::parse(&fixed).unwrap().tier_cuts(&[]).is_ok(), "no sample is needed");
    assert!(near(cuts(&fixed).red_prob, 0.66) && near(cuts(&fixed).amber_prob, 0.33));
    let least = cuts(&changed("red_probability_min = 0.0", "red_probability_min = 0.95"));
    assert!(near(least.red_prob, 0.95) && near(least.amber_prob, 0.70), "{least:?}");
    assert!(Policy::default_policy().unwrap().tier_cuts(&[]).is_err());
}

#[test]
fn an_issue_reads_as_a_sentence_with_its_line() {
    let text =
        changed("\"orders >= 1\", \"lapse = lapsed\"]", "\"orders >= 1\", \"laps = lapsed\"]");
    let line = line_of(&text, "laps = lapsed");
    let shown = Policy::parse(&text).unwrap_err().to_string();
    let wanted = format!(
        "the policy has 1 issue(s)\n  line {line}: \"laps = lapsed\": there is no fact \"laps\" \
         (did you mean \"lapse\"?)"
    );
    assert_eq!(shown, wanted);
    let text = changed("\"lapse = lapsed\", \"v >= 4\"", "\"lapse = lapsed\"");
    let (line, kind) = issues(&text).remove(0);
    assert_eq!(line + 1, line_of(&text, "\"lost\""), "{kind}");
}

#[test]
fn every_statement_of_the_source_texts_has_a_place_that_exists() {
    const PAGE: &str = include_str!("../../docs/SOURCE_FEATURES.md");
    let policy = Policy::default_policy().unwrap();
    let texts = [("A", 21), ("B", 14), ("C", 55), ("D", 20), ("E", 30)];
    let ids = texts.into_iter().flat_map(|(text, n)| (1..=n).map(move |k| format!("{text}{k}")));
    let mut n = 0;
    for id in ids {
        let row = format!("| {id} |");
        let rows: Vec<&str> = PAGE.lines().filter(|line| line.starts_with(&row)).collect();
        assert_eq!(rows.len(), 1, "{id}");
        let place = rows[0].split('|').nth(3).unwrap().trim();
        assert!(place.len() > 5, "{id}: {place}");
        n += 1;
    }
    assert_eq!(n, 140);
    for campaign in policy.campaigns() {
        assert!(PAGE.contains(&format!("`{}`", campaign.id())), "{}", campaign.id());
    }
    for segment in Segment::ALL.into_iter().filter(|one| *one != Segment::Unknown) {
        assert!(PAGE.contains(&format!("segment {segment}")) || PAGE.contains(segment.as_str()));
    }
}
