"""A form of a model as an ONNX graph."""

from typing import Any

import torch
from torch import Tensor

from seqmodels.checks import UserError
from seqmodels.export.forms import Form, OneStep, Padded, Port, Run
from seqmodels.export.program import program_of, quiet, refused


def onnx_file(form: Form) -> bytes:
    """The content of an ONNX file."""
    return graph_of(form).SerializeToString()


def graph_of(form: Form, prefix: str = "") -> Any:
    """The form as an ONNX model, whose inputs and outputs have the names of the ports after a prefix."""
    program = program_of(form)
    if any(value.is_complex() for node in program.graph.nodes if isinstance(value := node.meta.get("val"), Tensor)):
        raise UserError(f"format=onnx: {form.name} computes with complex numbers, which ONNX lacks; use format=torch")
    graphs = [module.graph for module in program.graph_module.modules() if isinstance(module, torch.fx.GraphModule)]
    if any("solve_triangular" in str(node.target) for graph in graphs for node in graph.nodes):
        raise UserError(
            f"format=onnx: {form.name} solves systems of equations where it reads several steps at once, which ONNX "
            "lacks; export it for any length, step by step, or use format=torch"
        )
    inputs, outputs = ([prefix + port.name for port in ports] for ports in (form.inputs, form.outputs))
    try:
        with quiet():
            made: Any = torch.onnx.export(program, dynamo=True, verbose=False, input_names=inputs, output_names=outputs)
    except torch.onnx.OnnxExporterError as error:
        raise refused(form, "torch.onnx", error) from error
    model = made.model_proto
    del model.graph.value_info[:]
    for value, port in zip([*model.graph.input, *model.graph.output], [*form.inputs, *form.outputs], strict=True):
        if port.start is not None:
            value.doc_string = f"{port.start:g} before the first step"
        for dimension, size in zip(value.type.tensor_type.shape.dim, port.shape, strict=True):
            if isinstance(size, str):
                dimension.dim_param = size  # torch calls it s0, or s77
    return model


def loop_file(step: OneStep, form: Form) -> bytes:
    """The content of an ONNX file for any length: a loop over the time axis, with the graph of one step inside."""
    from onnx import helper, numpy_helper

    model = graph_of(step, "step_")
    graph = model.graph
    nodes, constants, first, final = [], list(graph.initializer), [], []

    def constant(name: str, value: Any) -> str:
        constants.append(numpy_helper.from_array(torch.tensor(value).numpy(), name))
        return name

    def compute(operator: str, name: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name

    batch = compute("Shape", "batch_size", "inputs", start=0, end=1)
    for port in step.inputs[1:]:
        start = numpy_helper.from_array(torch.tensor([port.start], dtype=port.dtype).numpy())
        sizes = [
            batch if size == "batch" else constant(f"{port.name}_size_{axis}", [size])
            for axis, size in enumerate(port.shape)
        ]
        shape = compute("Concat", f"{port.name}_shape", *sizes, axis=0)
        first.append(compute("ConstantOfShape", f"{port.name}_first", shape, value=start))
        final.append(f"{port.name}_final")
    # Scan has the states first, and then what has a time axis.
    (step_inputs, *states), (step_answers, *next_states) = graph.input, graph.output
    body = helper.make_graph(graph.node, "step", [*states, step_inputs], [*next_states, step_answers])
    every_answer = "answers" if form.outputs[0].shape[1:-1] else "every_answer"
    axes: Any = {"scan_input_axes": [1], "scan_output_axes": [1]}
    nodes.append(
        helper.make_node("Scan", [*first, "inputs"], [*final, every_answer], body=body, num_scan_inputs=1, **axes)
    )
    if isinstance(form, Padded):
        last = compute("Sub", "last", "lengths", constant("one", 1))
        last = compute("Unsqueeze", "last_column", last, constant("column", [1]))
        compute("GatherND", "answers", every_answer, last, batch_dims=1)
    elif every_answer != "answers":
        compute("Gather", "answers", every_answer, constant("last", -1), axis=1)

    def ports(ports: list[Port]) -> list[Any]:
        kinds = [helper.np_dtype_to_tensor_dtype(torch.empty(0, dtype=port.dtype).numpy().dtype) for port in ports]
        return [
            helper.make_tensor_value_info(port.name, kind, port.shape) for port, kind in zip(ports, kinds, strict=True)
        ]

    whole = helper.make_graph(nodes, "sequence", ports(form.inputs), ports(form.outputs), constants)
    model.ClearField("graph")
    model.graph.CopyFrom(whole)
    return model.SerializeToString()


def read_onnx(content: bytes) -> Run:
    """The graph in an ONNX file, run by onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return tuple(map(torch.from_numpy, session.run(None, feed)))

    return run
