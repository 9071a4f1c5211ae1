//! Models: fit(spec, rows, seed) -> fitted; predict. Closed enums, pure computation.
//!
//! It deliberately knows no customer id, no file, no policy, no clock and no global state.

pub mod btyd;

mod blend;
mod boosted;
mod calibrate;
mod churn;
mod columns;
mod count;
mod count_base;
mod error;
mod explain;
mod fitted;
mod forest;
mod glm;
mod horizons;
mod hurdle;
mod linear;
mod link;
mod logistic;
mod onnx;
mod optimize;
mod personas;
mod purchase_mix;
mod scope;
mod score;
mod stack;
mod stage;
mod standardize;
mod table;
mod treeshap;
mod value;

pub use blend::{Blend, BlendError};
pub use boosted::{Boosted, BoostedSpec, Objective, TreeShape};
pub use calibrate::{Isotonic, LogitLine};
pub use churn::{ChurnKind, ChurnModel, ChurnParts, ChurnSpec};
pub use columns::{Columns, MissingColumn};
pub use count::{CountKind, CountModel, CountModelError, CountRows};
pub use error::FitError;
pub use explain::{Explainer, Explanation, Term, TypicalCustomer};
pub use fitted::{Fitted, Predictor, row_definitions};
pub use forest::{Forest, ForestError, ForestLink};
pub use glm::{TweedieGlm, TweedieGlmSpec};
pub use horizons::{HorizonModel, by_horizon, rebuild_row};
pub use hurdle::Hurdle;
pub use linear::{LinearV1, LinearV1Error};
pub use link::{PROB_MIN, clamp_prob, logit, sigmoid};
pub use logistic::{Logistic, LogisticSpec};
pub use onnx::{OnnxError, churn_onnx};
pub use personas::{PERSONAS_MAX, PERSONAS_MIN, Persona, PersonaError, PersonaTrait, Personas};
pub use purchase_mix::{PurchaseMix, PurchaseMixError};
pub use scope::SearchScope;
pub use score::{Clv, HorizonProb, Score};
pub use stack::{STACK_MEMBERS, StackWeights};
pub use stage::{BTYD_COLUMNS, BtydStage, StageCovariates, StageInput, StageView};
pub use table::{
    CellIssue, ColumnKind, NumberScale, Slot, SlotMeaning, TableChurn, TableColumn, TableExplainer,
    TableFitSpec, TableFitted, TableKind, TablePredictor, TableSchema, TableSchemaError,
    TableValue, flag_of, is_missing_text, level_of, number_of,
};
pub use treeshap::{ShapError, TreeShap};
pub use value::{IntervalBin, IntervalTable, ValueHorizon, ValueKind, ValueModel, ValueParts};
