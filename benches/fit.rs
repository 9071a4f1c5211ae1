//! How long fits of the purchase models take, and how many customers a core scores.
//!
//! Fits run on the CDNOW sample and on synthetic bases of 100,000 and a million customers, BG/BB
//! and the contract models on small tables; scoring runs over the rows of the sample on one
//! thread. Everything is built outside the timed part.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a bench fails by panicking, and criterion's macros make undocumented items"
)]

use std::collections::BTreeMap;
use std::fs::File;
use std::hint::black_box;

use criterion::BatchSize;
use criterion::Criterion;
use criterion::Throughput;
use criterion::criterion_group;
use criterion::criterion_main;
use flate2::read::GzDecoder;
use jiff::civil::Date;
use tenure::model::btyd::Bdw;
use tenure::model::btyd::BgBb;
use tenure::model::btyd::BgBbSpec;
use tenure::model::btyd::BgNbd;
use tenure::model::btyd::BgNbdSpec;
use tenure::model::btyd::BtydRow;
use tenure::model::btyd::Cohort;
use tenure::model::btyd::ContractSpec;
use tenure::model::btyd::Discount;
use tenure::model::btyd::GammaGamma;
use tenure::model::btyd::GammaGammaSpec;
use tenure::model::btyd::MbgNbd;
use tenure::model::btyd::MbgNbdSpec;
use tenure::model::btyd::OpportunityRow;
use tenure::model::btyd::ParetoNbd;
use tenure::model::btyd::ParetoNbdSpec;
use tenure::model::btyd::PooledCohorts;
use tenure::model::btyd::PooledOpportunities;
use tenure::model::btyd::PooledRows;
use tenure::model::btyd::PooledSpend;
use tenure::model::btyd::Sbg;
use tenure::model::btyd::SpendRow;

/// Calibration rows of the CDNOW sample with the mean repeat spend.
fn cdnow() -> Vec<(BtydRow, f64)> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/data/cdnow_sample.csv.gz");
    let end = Date::constant(1997, 9, 30);
    let mut customers: BTreeMap<u32, BTreeMap<Date, f64>> = BTreeMap::new();
    for record in csv::Reader::from_reader(GzDecoder::new(File::open(path).unwrap())).records() {
        let record = record.unwrap();
        let day: Date = record[1].parse().unwrap();
        if day <= end {
            let days = customers.entry(record[0].parse().unwrap()).or_default();
            *days.entry(day).or_default() += record[3].parse::<f64>().unwrap();
        }
    }
    let weeks = |from: Date, to: Date| f64::from(from.until(to).unwrap().get_days()) / 7.0;
    customers
        .values()
        .map(|days| {
            let (first, last) = (*days.keys().next().unwrap(), *days.keys().next_back().unwrap());
            let x = u32::try_from(days.len() - 1).unwrap();
            let spend: f64 = days.values().skip(1).sum();
            let mean = if x == 0 { 0.0 } else { spend / f64::from(x) };
            (BtydRow::try_new(x, weeks(first, last), weeks(first, end)).unwrap(), mean)
        })
        .collect()
}

/// Customers of many ages: the sample again and again, each time observed a day longer.
fn synthetic(n: usize) -> Vec<BtydRow> {
    let base = cdnow();
    (0..n)
        .map(|i| {
            let (row, _) = base[i % base.len()];
            let age_days = u32::try_from(i / base.len()).unwrap();
            BtydRow { t: row.t + f64::from(age_days) / 7.0, ..row }
        })
        .collect()
}

fn fits(c: &mut Criterion) {
    let customers = cdnow();
    let sample: Vec<BtydRow> = customers.iter().map(|c| c.0).collect();
    let sample = PooledRows::try_from_rows(&sample).unwrap();
    let spend: Vec<SpendRow> = customers
        .iter()
        .filter(|(row, mean)| row.x > 0 && *mean > 0.0)
        .map(|&(row, mean_spend)| SpendRow { x: row.x, mean_spend })
        .collect();
    let spend = PooledSpend::try_from_rows(&spend).unwrap();
    let large_rows = synthetic(100_000);
    let large = PooledRows::try_from_rows(&large_rows).unwrap();
    let million = PooledRows::try_from_rows(&synthetic(1_000_000)).unwrap();

    let mut group = c.benchmark_group("fit");
    group.sample_size(10);
    for (size, rows) in [("2k", &sample), ("100k", &large), ("1m", &million)] {
        group.bench_function(format!("bg_nbd/{size}"), |b| {
            b.iter(|| BgNbd::fit(&BgNbdSpec::default(), black_box(rows)).unwrap());
        });
        group.bench_function(format!("mbg_nbd/{size}"), |b| {
            b.iter(|| MbgNbd::fit(&MbgNbdSpec::default(), black_box(rows)).unwrap());
        });
        group.bench_function(format!("pareto_nbd/{size}"), |b| {
            b.iter(|| ParetoNbd::fit(&ParetoNbdSpec::default(), black_box(rows)).unwrap());
        });
    }
    group.bench_function("gamma_gamma/946", |b| {
        b.iter(|| GammaGamma::fit(&GammaGammaSpec::default(), black_box(&spend)).unwrap());
    });
    group.bench_function("pool/100k", |b| {
        b.iter_batched(
            || large_rows.clone(),
            |rows| PooledRows::try_from_rows(&rows).unwrap(),
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// Tables of counts by period: a hundred donors each way of taking up to 12 opportunities, and a
/// cohort of contracts over 24 renewals.
fn discrete(c: &mut Criterion) {
    let ways = (0..=12).flat_map(|t_x: u32| (u32::from(t_x > 0)..=t_x).map(move |x| (x, t_x)));
    let counts: Vec<(OpportunityRow, u64)> =
        ways.map(|(x, t_x)| (OpportunityRow::try_new(x, t_x, 12).unwrap(), 100)).collect();
    let rows = PooledOpportunities::try_from_counts(&counts).unwrap();
    let remaining = (1..=25_u64).map(|t| 100_000 / t).collect();
    let cohorts = [Cohort { first_period: 0, remaining }];
    let cohorts = PooledCohorts::try_from_cohorts(&cohorts).unwrap();
    let mut group = c.benchmark_group("fit_discrete");
    group.sample_size(20);
    group.bench_function("bg_bb/78_rows", |b| {
        b.iter(|| BgBb::fit(&BgBbSpec::default(), black_box(&rows)).unwrap());
    });
    group.bench_function("sbg/24_renewals", |b| {
        b.iter(|| Sbg::fit(&ContractSpec::default(), black_box(&cohorts)).unwrap());
    });
    group.bench_function("bdw/24_renewals", |b| {
        b.iter(|| Bdw::fit(&ContractSpec::default(), black_box(&cohorts)).unwrap());
    });
    group.finish();
}

fn scoring(c: &mut Criterion) {
    let customers = cdnow();
    let rows: Vec<BtydRow> = customers.iter().map(|c| c.0).collect();
    let pooled = PooledRows::try_from_rows(&rows).unwrap();
    let spend: Vec<SpendRow> = customers
        .iter()
        .filter(|(row, mean)| row.x > 0 && *mean > 0.0)
        .map(|&(row, mean_spend)| SpendRow { x: row.x, mean_spend })
        .collect();
    let bg = BgNbd::fit(&BgNbdSpec::default(), &pooled).unwrap();
    let mbg = MbgNbd::fit(&MbgNbdSpec::default(), &pooled).unwrap();
    let pareto = ParetoNbd::fit(&ParetoNbdSpec::default(), &pooled).unwrap();
    let spend = PooledSpend::try_from_rows(&spend).unwrap();
    let gg = GammaGamma::fit(&GammaGammaSpec::default(), &spend).unwrap();
    let monthly = Discount::try_periodic(0.01, 4.345).unwrap();

    let mut group = c.benchmark_group("score_one_core");
    group.throughput(Throughput::Elements(u64::try_from(customers.len()).unwrap()));
    let mut over_all = |name: &str, of: &dyn Fn(&BtydRow, f64) -> f64| {
        group.bench_function(name, |b| {
            b.iter(|| black_box(&customers).iter().map(|(row, mean)| of(row, *mean)).sum::<f64>());
        });
    };
    over_all("bg_nbd_no_purchase_only", &|row, _| bg.p_no_purchase(row.x, row.t_x, row.t, 39.0));
    over_all("bg_nbd_and_spend", &|row, mean| {
        let p = bg.predict(row, 39.0);
        p.p_no_purchase + p.expected_purchases * gg.expected_spend(row.x, mean)
    });
    over_all("mbg_nbd_and_spend", &|row, mean| {
        let p = mbg.predict(row, 39.0);
        p.p_no_purchase + p.expected_purchases * gg.expected_spend(row.x, mean)
    });
    over_all("pareto_nbd_and_spend", &|row, mean| {
        let p = pareto.predict(row, 39.0);
        p.p_no_purchase + p.expected_purchases * gg.expected_spend(row.x, mean)
    });
    over_all("bg_nbd_clv_12_months", &|row, mean| {
        bg.discounted_purchases(row, 52.14, &monthly) * gg.expected_spend(row.x, mean)
    });
    over_all("bg_nbd_quantile", &|row, _| f64::from(bg.purchase_quantile(row, 39.0, 0.9)));
    over_all("pareto_nbd_quantile", &|row, _| f64::from(pareto.purchase_quantile(row, 39.0, 0.9)));
    group.finish();
}

criterion_group!(benches, fits, discrete, scoring);
criterion_main!(benches);
