//! Bundles: fitted models, schema, cut points, policy and metrics on disk, versioned.
//!
//! In: everything a training run fixed. Out: a folder whose name is its content's digest, and
//! back. Nothing in it depends on the clock, the host or the number of threads (invariant B-2);
//! saving and loading keep every bit of every score (B-1).
//! It deliberately runs no model and knows no policy: the policy is kept as text.

mod alias;
mod base_v1;
mod baseline;
mod error;
mod experiments;
mod format_v1;
mod installation;
mod io;
mod stage_v1;
mod table_v1;
mod traffic;

pub use alias::{BundleSelector, CHALLENGER, CHAMPION, aliases, model_names, set_alias, versions};
pub use baseline::{BaselineV1, HistogramV1, TableBaselineV1, TypicalV1};
pub use error::BundleError;
pub use experiments::note_experiments;
pub use format_v1::{BTYD_OCCASION, BTYD_TIME_UNIT, BundleKind, CutsV1, ExampleV1, ManifestV1};
pub use installation::{installation_salt, store_facts};
pub use io::write_atomic;
pub use table_v1::{TableExampleV1, TableV1};
pub use traffic::{
    ARM_NAME_MAX, ARMS_MAX, CHAMPION_ARM, TRAFFIC_SALT_MAX, TrafficArmV1, TrafficCause,
    TrafficProblem, TrafficRevisionV1, TrafficV1, WEIGHT_ALL, traffic_path,
};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::{Fitted, Forest, Personas, Predictor, TableFitted, TablePredictor, TableSchema};

use base_v1::BaseV1;
use baseline::PersonasV1;
use format_v1::{FORMAT, ModelsV1, horizon_forest};
use io::{MANIFEST, check_name, read_checked, read_file, sha256_hex, version_of, write_folder};
use table_v1::TableModelsV1;

const BASELINE: &str = "baseline.json";
const PERSONAS: &str = "personas.json";
const MODELS: &str = "models.json";
const BASE: &str = "base.json";
const CUTS: &str = "cuts.json";
const EXAMPLES: &str = "examples.json";
const METRICS: &str = "metrics.json";
const POLICY: &str = "policy.toml";
const REPORT: &str = "report.html";
const CARD: &str = "model_card.md";
const SCHEMA: &str = "schema.json";
const FORESTS: [&str; 2] = ["forest_churn.json", "forest_value.json"];

/// A loaded bundle: immutable.
#[derive(Debug, Clone)]
pub struct Bundle {
    /// Where it was read from.
    pub folder: PathBuf,
    /// Its version: 12 hex digits of its content's digest.
    pub version: String,
    /// What it is.
    pub manifest: ManifestV1,
    /// Its models, ready to score.
    pub models: BundleModels,
    /// Its frozen cut points.
    pub cuts: CutsV1,
    /// Its policy, as text.
    pub policy: String,
    /// How the models did.
    pub metrics: serde_json::Value,
}

/// The models of a bundle, by what they score.
#[derive(Debug, Clone)]
pub enum BundleModels {
    /// Histories of a log.
    Log {
        /// The models.
        predictor: Box<Predictor>,
        /// Histories with the scores that must come out.
        examples: Vec<ExampleV1>,
        /// What the base looked like.
        baseline: Box<BaselineV1>,
        /// Groups of customers alike in how they buy, where they were asked for.
        personas: Option<Personas>,
    },
    /// Rows of a ready-made table.
    Table {
        /// The models.
        predictor: Box<TablePredictor>,
        /// The table beside the models' own columns.
        table: TableV1,
        /// Rows with the scores that must come out.
        examples: Vec<TableExampleV1>,
        /// What the training table looked like; none in a bundle of before this was kept.
        baseline: Option<Box<TableBaselineV1>>,
    },
}

/// What a training run hands over to be written.
#[derive(Debug)]
pub struct Draft {
    /// What it is; `format`, `feature_schema` and `files` are filled in.
    pub manifest: ManifestV1,
    /// The models.
    pub fitted: Fitted,
    /// The cut points.
    pub cuts: CutsV1,
    /// The policy, as text.
    pub policy: String,
    /// How the models did.
    pub metrics: serde_json::Value,
    /// Histories with the scores that must come out.
    pub examples: Vec<ExampleV1>,
    /// The report, one self-contained page.
    pub report: String,
    /// The model card, Markdown.
    pub card: String,
    /// What the base looks like.
    pub baseline: BaselineV1,
    /// Groups of customers alike in how they buy, where they were asked for.
    pub personas: Option<Personas>,
}

impl Draft {
    /// Writes the bundle into `models/NAME/VERSION` and gives its version and folder.
    ///
    /// # Errors
    /// [`BundleError`]; nothing is left behind that could be taken for a bundle.
    pub fn write(self, models: &Path) -> Result<(String, PathBuf), BundleError> {
        check_name(&self.manifest.name)?;
        let model = models.join(&self.manifest.name);
        let predictor = Predictor::try_new(self.fitted).map_err(|error| BundleError::Invalid {
            path: model.clone(),
            what: error.to_string(),
        })?;
        let fitted = predictor.fitted();
        let mut files = BTreeMap::new();
        let mut add = |name: &str, bytes: Vec<u8>| files.insert(name.to_owned(), bytes);
        add(MODELS, json(&model.join(MODELS), &format_v1::to_v1(fitted))?);
        add(BASE, json(&model.join(BASE), &base_v1::to_v1(&fitted.base))?);
        add(CUTS, json(&model.join(CUTS), &self.cuts)?);
        add(EXAMPLES, json(&model.join(EXAMPLES), &self.examples)?);
        add(METRICS, json(&model.join(METRICS), &self.metrics)?);
        add(SCHEMA, json(&model.join(SCHEMA), &schema_v1(&predictor))?);
        add(POLICY, self.policy.into_bytes());
        add(REPORT, self.report.into_bytes());
        add(CARD, self.card.into_bytes());
        add(BASELINE, json(&model.join(BASELINE), &self.baseline)?);
        if let Some(personas) = &self.personas {
            add(PERSONAS, json(&model.join(PERSONAS), &PersonasV1::new(personas))?);
        }
        let forests = [
            fitted.churn.parts.forest.as_ref(),
            fitted.value.as_ref().and_then(|v| v.parts.forest.as_ref()),
        ];
        add_forests(&model, forests, &mut files)?;
        for horizon in &fitted.horizons {
            if let Some(forest) = &horizon.churn.parts.forest {
                add_forest(&model, &horizon_forest(horizon.days), forest, &mut files)?;
            }
        }
        write(&model, self.manifest, predictor.schema().id(), files)
    }
}

/// What a training run on a table hands over to be written.
#[derive(Debug)]
pub struct TableDraft {
    /// What it is; `format`, `kind`, `feature_schema` and `files` are filled in.
    pub manifest: ManifestV1,
    /// The columns that the models read.
    pub schema: TableSchema,
    /// The table beside them.
    pub table: TableV1,
    /// The models.
    pub fitted: TableFitted,
    /// The cut points.
    pub cuts: CutsV1,
    /// The policy, as text.
    pub policy: String,
    /// How the models did.
    pub metrics: serde_json::Value,
    /// Rows with the scores that must come out.
    pub examples: Vec<TableExampleV1>,
    /// The report, one self-contained page.
    pub report: String,
    /// The model card, Markdown.
    pub card: String,
    /// What the table looks like.
    pub baseline: TableBaselineV1,
}

impl TableDraft {
    /// Writes the bundle into `models/NAME/VERSION` and gives its version and folder.
    ///
    /// # Errors
    /// [`BundleError`]; nothing is left behind that could be taken for a bundle.
    pub fn write(self, models: &Path) -> Result<(String, PathBuf), BundleError> {
        check_name(&self.manifest.name)?;
        let model = models.join(&self.manifest.name);
        let mut files = BTreeMap::new();
        let mut add = |name: &str, bytes: Vec<u8>| files.insert(name.to_owned(), bytes);
        let table = self.table.with_columns(&self.schema);
        add(MODELS, json(&model.join(MODELS), &table_v1::to_v1(&self.fitted))?);
        add(CUTS, json(&model.join(CUTS), &self.cuts)?);
        add(EXAMPLES, json(&model.join(EXAMPLES), &self.examples)?);
        add(METRICS, json(&model.join(METRICS), &self.metrics)?);
        add(SCHEMA, json(&model.join(SCHEMA), &table)?);
        add(POLICY, self.policy.into_bytes());
        add(REPORT, self.report.into_bytes());
        add(CARD, self.card.into_bytes());
        add(BASELINE, json(&model.join(BASELINE), &self.baseline)?);
        let forests = [
            self.fitted.churn.as_ref().and_then(|churn| churn.forest.as_ref()),
            self.fitted.value.as_ref().and_then(|value| value.forest.as_ref()),
        ];
        add_forests(&model, forests, &mut files)?;
        let manifest = ManifestV1 { kind: BundleKind::Table, ..self.manifest };
        write(&model, manifest, self.schema.id(), files)
    }
}

fn add_forests(
    model: &Path,
    forests: [Option<&Forest>; 2],
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), BundleError> {
    for (name, forest) in FORESTS.into_iter().zip(forests) {
        if let Some(forest) = forest {
            add_forest(model, name, forest, files)?;
        }
    }
    Ok(())
}

fn add_forest(
    model: &Path,
    name: &str,
    forest: &Forest,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> Result<(), BundleError> {
    let text = forest.to_json().map_err(|error| BundleError::Invalid {
        path: model.join(name),
        what: error.to_string(),
    })?;
    files.insert(name.to_owned(), text.into_bytes());
    Ok(())
}

/// Writes the files with the manifest that lists them.
fn write(
    model: &Path,
    manifest: ManifestV1,
    schema_id: &str,
    files: BTreeMap<String, Vec<u8>>,
) -> Result<(String, PathBuf), BundleError> {
    let manifest = ManifestV1 {
        format: FORMAT,
        feature_schema: schema_id.to_owned(),
        files: files.iter().map(|(name, bytes)| (name.clone(), sha256_hex(bytes))).collect(),
        ..manifest
    };
    let manifest = json(&model.join(MANIFEST), &manifest)?;
    let folder = write_folder(model, &manifest, &files)?;
    Ok((version_of(&manifest), folder))
}

impl Bundle {
    /// Finds and reads the bundle that a selector means.
    ///
    /// # Errors
    /// [`BundleError`] for one that is not there, incomplete, damaged, newer or of another schema.
    pub fn find(models: &Path, selector: &BundleSelector) -> Result<Self, BundleError> {
        Self::load(&selector.folder(models)?)
    }

    /// Reads a bundle's folder and checks every digest and the version itself.
    ///
    /// # Errors
    /// As [`Bundle::find`].
    pub fn load(folder: &Path) -> Result<Self, BundleError> {
        let path = folder.join(MANIFEST);
        let bytes = read_file(&path)?;
        let manifest = read_manifest(&path, &bytes)?;
        manifest.check_grain().map_err(|what| BundleError::Invalid { path: path.clone(), what })?;
        let version = version_of(&bytes);
        if folder.file_name().is_some_and(|name| name != version.as_str()) {
            return Err(BundleError::Version { path: folder.to_owned(), found: version });
        }
        let mut files = BTreeMap::new();
        for (name, digest) in &manifest.files {
            check_name(name)?;
            files.insert(name.as_str(), read_checked(&folder.join(name), digest)?);
        }
        let models = match manifest.kind {
            BundleKind::Log => log_models(folder, &files, &manifest)?,
            BundleKind::Table => table_models(folder, &files, &manifest)?,
        };
        Ok(Self {
            folder: folder.to_owned(),
            version,
            cuts: parse(folder, &files, CUTS)?,
            policy: text(folder, &files, POLICY)?.to_owned(),
            metrics: parse(folder, &files, METRICS)?,
            manifest,
            models,
        })
    }

    /// The examples of a log's bundle; none for a table bundle.
    #[must_use]
    pub fn examples(&self) -> &[ExampleV1] {
        match &self.models {
            BundleModels::Log { examples, .. } => examples,
            BundleModels::Table { .. } => &[],
        }
    }

    /// Number of examples, of either kind.
    #[must_use]
    pub fn n_examples(&self) -> usize {
        match &self.models {
            BundleModels::Log { examples, .. } => examples.len(),
            BundleModels::Table { examples, .. } => examples.len(),
        }
    }

    /// What the base of a log looked like; none for a table bundle.
    #[must_use]
    pub fn baseline(&self) -> Option<&BaselineV1> {
        match &self.models {
            BundleModels::Log { baseline, .. } => Some(baseline),
            BundleModels::Table { .. } => None,
        }
    }

    /// Groups of customers alike in how they buy, where they were asked for.
    #[must_use]
    pub fn personas(&self) -> Option<&Personas> {
        match &self.models {
            BundleModels::Log { personas, .. } => personas.as_ref(),
            BundleModels::Table { .. } => None,
        }
    }

    /// The models of a log; none for a table bundle.
    #[must_use]
    pub fn predictor(&self) -> Option<&Predictor> {
        match &self.models {
            BundleModels::Log { predictor, .. } => Some(predictor),
            BundleModels::Table { .. } => None,
        }
    }
}

fn log_models(
    folder: &Path,
    files: &Files<'_>,
    manifest: &ManifestV1,
) -> Result<BundleModels, BundleError> {
    let mut models: ModelsV1 = parse(folder, files, MODELS)?;
    let forests = read_forests(folder, files, models.forests())?;
    let horizons = [manifest.churn_horizon_days, manifest.clv_horizon_days];
    let invalid = |name: &str, what| BundleError::Invalid { path: folder.join(name), what };
    let further = models.take_horizons(horizons[0]).map_err(|what| invalid(MODELS, what))?;
    let mut fitted = models.into_fitted(forests, horizons).map_err(|what| invalid(MODELS, what))?;
    for horizon in further {
        let forest = match horizon.forest_file() {
            Some(name) => Some(read_forest(&folder.join(&name), text(folder, files, &name)?)?),
            None => None,
        };
        let model = horizon.into_model(forest).map_err(|what| invalid(MODELS, what))?;
        fitted.horizons.push(model);
    }
    let base: BaseV1 = parse(folder, files, BASE)?;
    fitted.base = base.into_base(fitted.base.rhythm).map_err(|what| invalid(BASE, what))?;
    let predictor =
        Predictor::try_new(fitted).map_err(|error| invalid(SCHEMA, error.to_string()))?;
    check_schema(folder, manifest, &predictor)?;
    let examples = parse(folder, files, EXAMPLES)?;
    let baseline: Box<BaselineV1> = Box::new(parse(folder, files, BASELINE)?);
    if let Some(what) = baseline.problem() {
        return Err(invalid(BASELINE, what));
    }
    let personas = read_personas(folder, files, &predictor)?;
    let predictor = Box::new(predictor);
    Ok(BundleModels::Log { predictor, examples, baseline, personas })
}

fn table_models(
    folder: &Path,
    files: &Files<'_>,
    manifest: &ManifestV1,
) -> Result<BundleModels, BundleError> {
    let invalid = |name: &str, what| BundleError::Invalid { path: folder.join(name), what };
    let table: TableV1 = parse(folder, files, SCHEMA)?;
    let schema = table.to_schema().map_err(|what| invalid(SCHEMA, what))?;
    if manifest.feature_schema != schema.id() {
        let (expected, found) = (schema.id().to_owned(), manifest.feature_schema.clone());
        return Err(BundleError::Schema { path: folder.to_owned(), expected, found });
    }
    let models: TableModelsV1 = parse(folder, files, MODELS)?;
    let forests = read_forests(folder, files, models.forests())?;
    let horizons = [manifest.churn_horizon_days, manifest.clv_horizon_days];
    let predictor =
        models.into_predictor(schema, forests, horizons).map_err(|what| invalid(MODELS, what))?;
    let examples = parse(folder, files, EXAMPLES)?;
    let baseline: Option<Box<TableBaselineV1>> = match files.contains_key(BASELINE) {
        true => Some(Box::new(parse(folder, files, BASELINE)?)),
        false => None,
    };
    if let Some(what) = baseline.as_ref().and_then(|baseline| baseline.problem()) {
        return Err(invalid(BASELINE, what));
    }
    Ok(BundleModels::Table { predictor: Box::new(predictor), table, examples, baseline })
}

fn read_forests(
    folder: &Path,
    files: &Files<'_>,
    present: [bool; 2],
) -> Result<[Option<Forest>; 2], BundleError> {
    let mut forests = [None, None];
    for ((slot, name), present) in forests.iter_mut().zip(FORESTS).zip(present) {
        if present {
            *slot = Some(read_forest(&folder.join(name), text(folder, files, name)?)?);
        }
    }
    Ok(forests)
}

fn check_schema(
    folder: &Path,
    manifest: &ManifestV1,
    predictor: &Predictor,
) -> Result<(), BundleError> {
    let expected = predictor.schema().id().to_owned();
    if manifest.feature_schema != expected {
        let found = manifest.feature_schema.clone();
        return Err(BundleError::Schema { path: folder.to_owned(), expected, found });
    }
    let fitted = predictor.fitted();
    let n_features = predictor.schema().features().len();
    let invalid = |what: String| BundleError::Invalid { path: folder.join(MODELS), what };
    if fitted.ranges.len() != n_features {
        return Err(invalid(format!("{} ranges for {n_features} features", fitted.ranges.len())));
    }
    let forests = [
        fitted.churn.parts.forest.as_ref(),
        fitted.value.as_ref().and_then(|v| v.parts.forest.as_ref()),
    ];
    let further = fitted.horizons.iter().filter_map(|h| h.churn.parts.forest.as_ref());
    for forest in forests.into_iter().flatten().chain(further) {
        if forest.n_features() != n_features {
            let found = forest.n_features();
            return Err(invalid(format!("trees of {found} features, the schema has {n_features}")));
        }
    }
    Ok(())
}

fn read_manifest(path: &Path, bytes: &[u8]) -> Result<ManifestV1, BundleError> {
    #[derive(serde::Deserialize)]
    struct Format {
        format: u32,
    }
    let json = |source| BundleError::Json { path: path.to_owned(), source };
    let Format { format } = serde_json::from_slice(bytes).map_err(json)?;
    if format > FORMAT {
        return Err(BundleError::Newer { path: path.to_owned(), found: format, known: FORMAT });
    }
    serde_json::from_slice(bytes).map_err(json)
}

/// `schema.json`: for people and other programs; the digest in the manifest is what is checked.
fn schema_v1(predictor: &Predictor) -> serde_json::Value {
    let schema = predictor.schema();
    let features: Vec<serde_json::Value> = schema
        .features()
        .iter()
        .map(|f| serde_json::json!({ "name": f.name, "unit": f.unit, "doc": f.doc }))
        .collect();
    serde_json::json!({ "id": schema.id(), "version": schema.version(), "features": features })
}

fn json(path: &Path, value: &impl Serialize) -> Result<Vec<u8>, BundleError> {
    let mut bytes = serde_json::to_vec_pretty(value)
        .map_err(|source| BundleError::Json { path: path.to_owned(), source })?;
    bytes.push(b'\n');
    Ok(bytes)
}

type Files<'a> = BTreeMap<&'a str, Vec<u8>>;

fn bytes<'a>(folder: &Path, files: &'a Files<'_>, name: &str) -> Result<&'a [u8], BundleError> {
    let missing = || BundleError::Missing { path: folder.join(name) };
    files.get(name).map(Vec::as_slice).ok_or_else(missing)
}

fn parse<T: DeserializeOwned>(
    folder: &Path,
    files: &Files<'_>,
    name: &str,
) -> Result<T, BundleError> {
    serde_json::from_slice(bytes(folder, files, name)?)
        .map_err(|source| BundleError::Json { path: folder.join(name), source })
}

fn text<'a>(folder: &Path, files: &'a Files<'_>, name: &str) -> Result<&'a str, BundleError> {
    std::str::from_utf8(bytes(folder, files, name)?)
        .map_err(|error| BundleError::Invalid { path: folder.join(name), what: error.to_string() })
}

fn read_personas(
    folder: &Path,
    files: &Files<'_>,
    predictor: &Predictor,
) -> Result<Option<Personas>, BundleError> {
    if !files.contains_key(PERSONAS) {
        return Ok(None);
    }
    let stored: PersonasV1 = parse(folder, files, PERSONAS)?;
    let invalid = |what| BundleError::Invalid { path: folder.join(PERSONAS), what };
    stored.into_personas(predictor.schema()).map(Some).map_err(invalid)
}

fn read_forest(path: &Path, text: &str) -> Result<Forest, BundleError> {
    Forest::from_json(text)
        .map_err(|error| BundleError::Invalid { path: path.to_owned(), what: error.to_string() })
}
