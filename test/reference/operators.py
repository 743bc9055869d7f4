"""The operators of the standard and the versions in which each changed, as src/graph/operators/versions.ts has them.

Usage:  python3 test/reference/operators.py > src/graph/operators/versions.ts

From the schemas of the onnx package (onnx.defs), domain ai.onnx, operator sets 1 to 26.
"""

from __future__ import annotations

from collections import defaultdict

import onnx.defs

LAST = 26

versions: dict[str, set[int]] = defaultdict(set)
for schema in onnx.defs.get_all_schemas_with_history():
    if schema.domain == "" and schema.since_version <= LAST:
        versions[schema.name].add(schema.since_version)

print("// Made by test/reference/operators.py from the schemas of the onnx package; not edited by hand.\n")
print("/** The newest operator set of which this is the list. */")
print(f"export const LAST_OPSET = {LAST};\n")
print("/** Every operator of the standard, with the operator sets in which it came or changed. */")
print("export const VERSIONS = {")
for name in sorted(versions):
    print(f"  {name}: [{', '.join(map(str, sorted(versions[name])))}],")
print("} as const satisfies Readonly<Record<string, readonly number[]>>;\n")
print("/** The name of an operator of the standard. */")
print("export type StandardOperator = keyof typeof VERSIONS;")
