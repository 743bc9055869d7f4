"""From which operator set on the operators of the standard take half precision, as src/passes/convert/half-types.ts has it.

    python3 test/reference/half_types.py > src/passes/convert/half-types.ts && npx biome format --write src/passes/convert/half-types.ts

An operator takes a type where every input and output that may be float32 may be of it. Listed are those that take it later than from
the operator set that is converted from at least (7; for bfloat16 13), 0 for never.
"""

from onnx import defs

LEAST = {"float16": 7, "bfloat16": 13}
LAST = 26
# Inputs that stay float32, and outputs that are rarely asked for: see islands.ts.
APART = {"Resize": {"roi", "scales"}, "Upsample": {"scales"}, "LayerNormalization": {"Mean", "InvStdDev"}}

schemas = {}
for schema in defs.get_all_schemas_with_history():
    if schema.domain == "" and schema.since_version <= LAST:
        schemas.setdefault(schema.name, []).append(schema)


def takes(schema, kind):
    for value in [*schema.inputs, *schema.outputs]:
        if value.name in APART.get(schema.name, ()):
            continue
        if "tensor(float)" in value.types and f"tensor({kind})" not in value.types:
            return False
    return True


print("// Made by test/reference/half_types.py from the schemas of the onnx package; not edited by hand.\n")
print("/** From which operator set on an operator takes a type, where that is not from 7 (bfloat16: 13) on; 0 for never. */")
print("export const HALF_SINCE: Readonly<Record<'float16' | 'bfloat16', Readonly<Record<string, number>>>> = {")
for kind, least in LEAST.items():
    print(f"  {kind}: {{")
    for name in sorted(schemas):
        versions = sorted(schemas[name], key=lambda schema: schema.since_version)
        if versions[-1].deprecated:
            versions = versions[:-1]
        since = 0
        for version in reversed(versions):
            if not takes(version, kind):
                break
            since = version.since_version
        if since == 0 or (since > least and versions[0].since_version < since):
            print(f"    {name}: {since},")
    print("  },")
print("};")
