"""The element types of the outputs of the standard's operators, as src/graph/operators/output-types.ts has them.

Usage:  python3 test/reference/output_types.py > src/graph/operators/output-types.ts

From the newest schemas of the onnx package (onnx.defs), domain ai.onnx: of each output the input that has the same type
parameter, or the type that it always has. Outputs whose type follows from attributes are absent, or undefined in a list.
"""

from __future__ import annotations

import onnx.defs

NAMES = {"float": "float32", "double": "float64"}


def fixed(type_str: str) -> str | None:
    if not type_str.startswith("tensor("):
        return None
    name = type_str[7:-1]
    return NAMES.get(name, name)


def rule(schema: onnx.defs.OpSchema, output: onnx.defs.OpSchema.FormalParameter) -> str:
    for index, parameter in enumerate(schema.inputs):
        if parameter.type_str == output.type_str and not fixed(output.type_str):
            return str(index)
    found = fixed(output.type_str)
    if found is None:
        for constraint in schema.type_constraints:
            if constraint.type_param_str == output.type_str and len(constraint.allowed_type_strs) == 1:
                found = fixed(constraint.allowed_type_strs[0])
    return "undefined" if found is None else f"'{found}'"


latest: dict[str, onnx.defs.OpSchema] = {}
for one in onnx.defs.get_all_schemas_with_history():
    if one.domain == "" and one.since_version <= 26:
        if one.name not in latest or latest[one.name].since_version < one.since_version:
            latest[one.name] = one

print("// Made by test/reference/output_types.py from the schemas of the onnx package; not edited by hand.\n")
print("import type { DataType } from '../tensor/data-type.js';")
print("import type { StandardOperator } from './versions.js';\n")
print("/** Of each output of an operator: the input that has the same type, or the type; undefined where attributes tell it. */")
print("export const OUTPUT_TYPES: Readonly<")
print("  Partial<Record<StandardOperator, readonly (number | DataType | undefined)[]>>")
print("> = {")
for name in sorted(latest):
    rules = [rule(latest[name], output) for output in latest[name].outputs]
    while rules and rules[-1] == "undefined":
        rules.pop()
    if rules:
        print(f"  {name}: [{', '.join(rules)}],")
print("};")
