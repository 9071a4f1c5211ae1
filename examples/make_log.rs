//! Makes a purchase log of any size, for measuring how cost grows.
//!
//! `cargo run --release --example make_log -- CUSTOMERS EVENTS FILE.{csv,parquet} [SEED]`
//!
//! In: how many customers and events. Out: two years of orders in the order of time, made from a
//! seed: the same arguments give the same bytes. Customers differ in how often they buy, come at
//! different times and go at different times, so that there is something to learn.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "an example may stop, and talks to its terminal"
)]

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

const DAY_MICROS: i64 = 86_400_000_000;
/// 2024-01-01.
const FIRST_DAY: i64 = 19_723;
const DAYS: i64 = 730;
const GROUP_ROWS: usize = 250_000;
const CATEGORIES: [&str; 8] =
    ["bakery", "coffee", "dairy", "drinks", "fruit", "household", "meat", "snacks"];
const SCHEMA: &str = "message log {
    required binary customer_id (STRING);
    required int64 time (TIMESTAMP(MICROS, true));
    required double amount;
    required binary category (STRING);
}";

/// A small generator of numbers (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

const fn mixed(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// One order.
struct Order {
    customer: u64,
    micros: i64,
    cents: u64,
    category: &'static str,
}

/// The next order of a log, at a share of its time.
fn order(numbers: &mut Numbers, n_customers: u64, at: f64) -> Order {
    let mut customer = 0;
    // Somebody who is there at that time; after some tries, anybody.
    for _ in 0..6 {
        customer = (n_customers as f64 * numbers.share().powf(1.4)) as u64;
        let own = mixed(customer ^ 0x51ed);
        let from = (own & 0xffff) as f64 / 65_536.0 * 0.8;
        let length = 0.1 + (own >> 16 & 0xffff) as f64 / 65_536.0;
        if (from..from + length).contains(&at) {
            break;
        }
    }
    let micros = FIRST_DAY * DAY_MICROS + (at * (DAYS * DAY_MICROS) as f64) as i64;
    let typical = 500.0 + (mixed(customer ^ 0xa11ce) & 0xfff) as f64;
    let cents = (typical * (0.4 + 1.2 * numbers.share())) as u64;
    let category = CATEGORIES[(numbers.next() % CATEGORIES.len() as u64) as usize];
    Order { customer, micros, cents, category }
}

fn write_csv(out: &str, orders: impl Iterator<Item = Order>) {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(out).unwrap());
    file.write_all(b"customer_id,time,amount,category\n").unwrap();
    for Order { customer, micros, cents, category } in orders {
        let (units, rest) = (cents / 100, cents % 100);
        let seconds = micros.div_euclid(1_000_000);
        writeln!(file, "c{customer:08},{seconds},{units}.{rest:02},{category}").unwrap();
    }
    file.flush().unwrap();
}

fn write_parquet(out: &str, mut orders: impl Iterator<Item = Order>) {
    let schema = Arc::new(parse_message_type(SCHEMA).unwrap());
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let file = File::create(out).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(properties)).unwrap();
    loop {
        let rows: Vec<Order> = orders.by_ref().take(GROUP_ROWS).collect();
        if rows.is_empty() {
            break;
        }
        let mut group = writer.next_row_group().unwrap();
        let ids: Vec<ByteArray> = rows
            .iter()
            .map(|row| ByteArray::from(format!("c{:08}", row.customer).as_str()))
            .collect();
        let times: Vec<i64> = rows.iter().map(|row| row.micros).collect();
        let amounts: Vec<f64> = rows.iter().map(|row| row.cents as f64 / 100.0).collect();
        let categories: Vec<ByteArray> =
            rows.iter().map(|row| ByteArray::from(row.category)).collect();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&ids, None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<Int64Type>().write_batch(&times, None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<DoubleType>().write_batch(&amounts, None, None).unwrap();
        column.close().unwrap();
        let mut column = group.next_column().unwrap().unwrap();
        column.typed::<ByteArrayType>().write_batch(&categories, None, None).unwrap();
        column.close().unwrap();
        group.close().unwrap();
    }
    writer.close().unwrap();
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| args.get(at).and_then(|text| text.parse::<u64>().ok());
    let (Some(n_customers), Some(n_events), Some(out)) = (number(0), number(1), args.get(2)) else {
        eprintln!("make_log CUSTOMERS EVENTS FILE.csv|FILE.parquet [SEED]");
        return ExitCode::from(64);
    };
    let mut numbers = Numbers(number(3).unwrap_or(1));
    let orders =
        (0..n_events).map(|at| order(&mut numbers, n_customers, at as f64 / n_events as f64));
    if out.ends_with(".parquet") {
        write_parquet(out, orders);
    } else {
        write_csv(out, orders);
    }
    ExitCode::SUCCESS
}
