//! The bytes of an ONNX model: the few messages of `onnx.proto` that a graph of ours needs.
//!
//! A protocol buffer is a list of fields; each begins with its number and the form of its value.

/// Version of the intermediate representation; 8 came with operator set 13's successors and is
/// read by every runtime since 2021.
const IR_VERSION: i64 = 8;
/// Operator set of the general operators.
const OPSET: i64 = 13;
/// Operator set of `ai.onnx.ml`.
const OPSET_ML: i64 = 1;
/// `TensorProto.DataType.DOUBLE`.
pub(super) const DOUBLE: i64 = 11;
/// `TensorProto.DataType.FLOAT`.
pub(super) const FLOAT: i64 = 1;

/// One message in the making.
#[derive(Debug, Default, Clone)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        loop {
            let low = number.to_le_bytes()[0] & 0x7f;
            number >>= 7;
            if number == 0 {
                self.0.push(low);
                return;
            }
            self.0.push(low | 0x80);
        }
    }

    fn int(&mut self, field: u32, number: i64) -> &mut Self {
        self.varint(u64::from(field) << 3);
        self.varint(number.cast_unsigned());
        self
    }

    fn float(&mut self, field: u32, number: f32) -> &mut Self {
        self.varint(u64::from(field) << 3 | 5);
        self.0.extend_from_slice(&number.to_le_bytes());
        self
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) -> &mut Self {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(&mut self, field: u32, text: &str) -> &mut Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(&mut self, field: u32, inner: &Self) -> &mut Self {
        self.bytes(field, &inner.0)
    }
}

/// An attribute of a node.
#[derive(Debug, Clone)]
pub(super) struct Attribute(Message);

impl Attribute {
    /// `kind` is `AttributeProto.AttributeType`.
    fn new(name: &str, kind: i64, fill: impl FnOnce(&mut Message)) -> Self {
        let mut message = Message::default();
        message.text(1, name);
        fill(&mut message);
        message.int(20, kind);
        Self(message)
    }

    pub(super) fn int(name: &str, number: i64) -> Self {
        Self::new(name, 2, |message| {
            message.int(3, number);
        })
    }

    pub(super) fn text(name: &str, text: &str) -> Self {
        Self::new(name, 3, |message| {
            message.text(4, text);
        })
    }

    pub(super) fn floats(name: &str, numbers: &[f32]) -> Self {
        Self::new(name, 6, |message| {
            for &number in numbers {
                message.float(7, number);
            }
        })
    }

    pub(super) fn ints(name: &str, numbers: &[i64]) -> Self {
        Self::new(name, 7, |message| {
            for &number in numbers {
                message.int(8, number);
            }
        })
    }

    pub(super) fn texts(name: &str, texts: &[&str]) -> Self {
        Self::new(name, 8, |message| {
            for text in texts {
                message.text(9, text);
            }
        })
    }
}

/// A graph with one matrix of rows as its input and columns of rows as its values.
#[derive(Debug)]
pub(super) struct Graph {
    input: String,
    n_columns: usize,
    nodes: Vec<Message>,
    constants: Vec<Message>,
    outputs: Vec<String>,
    n_names: usize,
}

impl Graph {
    pub(super) fn new(input: &str, n_columns: usize) -> Self {
        Self {
            input: input.to_owned(),
            n_columns,
            nodes: Vec::new(),
            constants: Vec::new(),
            outputs: Vec::new(),
            n_names: 0,
        }
    }

    /// Name of the matrix of rows.
    pub(super) fn input(&self) -> &str {
        &self.input
    }

    fn name(&mut self) -> String {
        self.n_names += 1;
        format!("v{}", self.n_names)
    }

    /// Adds a node whose result has a name. An operator of another set than the general one has
    /// the set's name before its own.
    pub(super) fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[Attribute],
    ) {
        let (domain, operator) = operator.rsplit_once('.').unwrap_or(("", operator));
        let mut node = Message::default();
        for input in inputs {
            node.text(1, input);
        }
        node.text(2, output).text(3, output).text(4, operator);
        for attribute in attributes {
            node.message(5, &attribute.0);
        }
        if !domain.is_empty() {
            node.text(7, domain);
        }
        self.nodes.push(node);
    }

    /// Adds a node and names its result.
    pub(super) fn next(&mut self, operator: &str, inputs: &[&str]) -> String {
        let output = self.name();
        self.node(operator, inputs, &output, &[]);
        output
    }

    /// Adds a constant.
    pub(super) fn number(&mut self, number: f64) -> String {
        let name = self.name();
        let mut tensor = Message::default();
        tensor.int(2, DOUBLE).text(8, &name).bytes(9, &number.to_le_bytes());
        self.constants.push(tensor);
        name
    }

    /// Takes one column out of the rows; it keeps two dimensions.
    pub(super) fn column(&mut self, position: usize) -> String {
        let index = self.name();
        let mut tensor = Message::default();
        // One 64-bit integer (7) in one dimension.
        let bytes = (position as i64).to_le_bytes();
        tensor.int(1, 1).int(2, 7).text(8, &index).bytes(9, &bytes);
        self.constants.push(tensor);
        let output = self.name();
        let input = self.input.clone();
        let axis = [Attribute::int("axis", 1)];
        self.node("Gather", &[&input, &index], &output, &axis);
        output
    }

    /// A value with 0 where it is missing.
    pub(super) fn finite(&mut self, value: &str) -> String {
        let zero = self.number(0.0);
        let missing = self.next("IsNaN", &[value]);
        self.next("Where", &[&missing, &zero, value])
    }

    /// `factor * value + shift`.
    pub(super) fn scaled(&mut self, value: &str, factor: f64, shift: f64) -> String {
        let (factor, shift) = (self.number(factor), self.number(shift));
        let product = self.next("Mul", &[value, &factor]);
        self.next("Add", &[&product, &shift])
    }

    /// Makes a value an output of the graph, one column.
    pub(super) fn output(&mut self, name: &str) {
        self.outputs.push(name.to_owned());
    }

    /// The whole model with some facts about it.
    pub(super) fn model(&self, facts: &[(&str, &str)]) -> Vec<u8> {
        let mut graph = Message::default();
        for node in &self.nodes {
            graph.message(1, node);
        }
        graph.text(2, "churn");
        for constant in &self.constants {
            graph.message(5, constant);
        }
        graph.message(11, &value_info(&self.input, self.n_columns as i64));
        for output in &self.outputs {
            graph.message(12, &value_info(output, 1));
        }
        let mut model = Message::default();
        model.int(1, IR_VERSION).text(2, "tenure").text(3, env!("CARGO_PKG_VERSION"));
        model.message(7, &graph);
        for (domain, version) in [("", OPSET), ("ai.onnx.ml", OPSET_ML)] {
            let mut opset = Message::default();
            opset.text(1, domain).int(2, version);
            model.message(8, &opset);
        }
        for (key, text) in facts {
            let mut fact = Message::default();
            fact.text(1, key).text(2, text);
            model.message(14, &fact);
        }
        model.0
    }
}

/// A matrix of 64-bit floats with any number of rows.
fn value_info(name: &str, n_columns: i64) -> Message {
    let (mut rows, mut columns) = (Message::default(), Message::default());
    rows.text(2, "rows");
    columns.int(1, n_columns);
    let mut shape = Message::default();
    shape.message(1, &rows).message(1, &columns);
    let mut tensor = Message::default();
    tensor.int(1, DOUBLE).message(2, &shape);
    let mut kind = Message::default();
    kind.message(1, &tensor);
    let mut info = Message::default();
    info.text(1, name).message(2, &kind);
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_bytes_of_the_format() {
        let mut message = Message::default();
        // The example of the format's own description: field 1 is 150.
        message.int(1, 150);
        assert_eq!(message.0, [0x08, 0x96, 0x01]);
        let mut message = Message::default();
        message.text(2, "testing");
        assert_eq!(message.0, *b"\x12\x07testing");
        let mut message = Message::default();
        message.int(1, -1).float(7, 1.0);
        assert_eq!(message.0[..11], [8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]);
        assert_eq!(message.0[11..], [0x3d, 0, 0, 0x80, 0x3f]);
    }
}
