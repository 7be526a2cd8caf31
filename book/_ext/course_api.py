"""The directive ``{course-module}``: the public names of a module with their signatures and docstrings.

It reads the source instead of importing it. The signatures therefore appear as they are written, shapes included
(``Complex[Tensor, "batch frame coil ky kx"]``), nothing of the package has to run while the book is built, and
annotations of other libraries cannot become broken references.

    ```{course-module} cmr_course.fourier
    ```
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, cast

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.domains.python import PythonDomain
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_id

INLINE = re.compile(r":(?P<role>[a-z]+):`(?P<target>[^`]+)`|``(?P<double>[^`]+)``|`(?P<single>[^`]+)`")
DEFINITION = re.compile(r"^(\w+(?:, \w+)*): (.+)$")
BULLET = re.compile(r"^[-*] ")
SECTIONS = ("Args:", "Arguments:", "Attributes:", "Raises:", "Returns:", "Yields:", "References:", "Note:", "Example:")


@dataclass
class Entry:
    """One public function, class, method or constant of a module."""

    name: str
    kind: str
    signature: str
    doc: str
    members: list[Entry] = field(default_factory=list)


# ---------------------------------------------------------------------------------------------- reading the source


def package_roots(module: str, roots: tuple[Path, ...]) -> tuple[Path, ...]:
    """`roots`, then the folder in which Python finds the package of `module`; nothing is imported for that."""
    spec = importlib.util.find_spec(module.split(".")[0])
    places = spec.submodule_search_locations if spec else None
    return (*roots, *(Path(place).parent for place in places or ()))


def source_of(module: str, roots: tuple[Path, ...]) -> Path | None:
    """The file of `module` below one of `roots`, else where the installed package is; None if there is none."""
    parts = Path(*module.split("."))
    for root in package_roots(module, roots):
        for candidate in (root / parts.with_suffix(".py"), root / parts / "__init__.py"):
            if candidate.is_file():
                return candidate
    return None


def _written(node: ast.expr) -> str:
    """An expression as the course writes it, with double quotes."""
    text = ast.unparse(node)
    return text if '"' in text else text.replace("'", '"')


def _argument(argument: ast.arg, default: ast.expr | None, stars: str = "") -> str:
    text = stars + argument.arg + (f": {_written(argument.annotation)}" if argument.annotation else "")
    if default is None:
        return text
    return text + (" = " if argument.annotation else "=") + _written(default)


def _arguments(arguments: ast.arguments, *, skip_first: bool) -> list[str]:
    """The arguments of a function, one string each, without `self` or `cls` where `skip_first` says so."""
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + list(arguments.defaults)
    parts = [_argument(argument, default) for argument, default in zip(positional, defaults, strict=True)]
    if arguments.posonlyargs:
        parts.insert(len(arguments.posonlyargs), "/")
    parts = parts[1:] if skip_first else parts
    if arguments.vararg:
        parts.append(_argument(arguments.vararg, None, "*"))
    elif arguments.kwonlyargs:
        parts.append("*")
    parts += [_argument(a, default) for a, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)]
    return [*parts, _argument(arguments.kwarg, None, "**")] if arguments.kwarg else parts


def _lay_out(parts: list[str], result: str = "") -> str:
    """``(parts) → result`` on one line, or, where that would be long, with a line for each part."""
    one_line = f"({', '.join(parts)}){result}"
    if len(one_line) <= 70 or not parts:
        return one_line
    return "(\n" + "".join(f"    {part},\n" for part in parts) + f"){result}"


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef, *, method: bool) -> str:
    skip_first = method and "staticmethod" not in _decorators(node)
    result = f" → {_written(node.returns)}" if node.returns else ""
    return _lay_out(_arguments(node.args, skip_first=skip_first), result)


def _decorators(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> set[str]:
    return {ast.unparse(decorator).split("(")[0].split(".")[-1] for decorator in node.decorator_list}


def _class_signature(node: ast.ClassDef) -> str:
    """The fields of a dataclass, or the arguments of ``__init__``, as a signature."""
    for item in node.body:
        if isinstance(item, ast.FunctionDef) and item.name == "__init__":
            return _lay_out(_arguments(item.args, skip_first=True))
    if "dataclass" not in _decorators(node):
        return ""
    fields = [item for item in node.body if isinstance(item, ast.AnnAssign)]
    return _lay_out(
        [
            f"{_written(item.target)}: {_written(item.annotation)}"
            + (f" = {_written(item.value)}" if item.value else "")
            for item in fields
            if "ClassVar" not in _written(item.annotation)
        ]
    )


def _entries(body: list[ast.stmt], *, inside_class: bool) -> Iterator[Entry]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            shown = not node.name.startswith("_") or (node.name == "__call__" and inside_class)
            if not shown or "overload" in _decorators(node):  # of several signatures, the one with the docstring
                continue
            if "property" in _decorators(node) or "cached_property" in _decorators(node):
                result = f": {_written(node.returns)}" if node.returns else ""
                yield Entry(node.name, "property", result, ast.get_docstring(node) or "")
            else:
                signature = _signature(node, method=inside_class)
                kind = "method" if inside_class else "function"
                yield Entry(node.name, kind, signature, ast.get_docstring(node) or "")
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not inside_class:
            members = [m for m in _entries(node.body, inside_class=True) if m.doc]
            yield Entry(node.name, "class", _class_signature(node), ast.get_docstring(node) or "", members)


def _constants(body: list[ast.stmt]) -> Iterator[Entry]:
    """Module constants in capitals; a string below the assignment is their docstring."""
    for node, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
            continue
        name = ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
            continue
        written = _written(node.value)
        stated = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        doc = str(after.value.value) if stated else ""  # type: ignore[union-attr]
        yield Entry(name, "data", f" = {written}" if len(written) <= 100 else "", inspect.cleandoc(doc))


def _own_entries(tree: ast.Module) -> list[Entry]:
    return [*_constants(tree.body), *_entries(tree.body, inside_class=False)]


def _imports(tree: ast.Module) -> dict[str, str]:
    """Name to module, for each ``from module import name`` at the top of a module."""
    lines = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module and not node.level]
    return {alias.asname or alias.name: str(node.module) for node in lines for alias in node.names}


def _listed(tree: ast.Module) -> list[str] | None:
    """The names in ``__all__``, or None where a module has none."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return list(ast.literal_eval(node.value))
    return None


def reexported(package: str, roots: tuple[Path, ...]) -> dict[str, str]:
    """Name to module, for each name that a package offers from one of its files; empty where there is no package."""
    path = source_of(package, roots) if package else None
    return _imports(ast.parse(path.read_text(encoding="utf-8"))) if path else {}


def read_module(module: str, roots: tuple[Path, ...]) -> tuple[str, list[Entry], list[Path]]:
    """Docstring, constants, public functions and classes of a module, in the order of the source, and what was read.

    Names starting with an underscore are private. Where the module lists ``__all__``, only those names appear, those
    it imports from its own files included, in the order of these files.
    """
    path = source_of(module, roots)
    if path is None:
        raise ModuleNotFoundError(module)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    doc, entries, listed, read = ast.get_docstring(tree) or "", _own_entries(tree), _listed(tree), [path]
    if listed is None:
        return doc, entries, read
    found = {entry.name for entry in entries}
    origins = {name: origin for name, origin in _imports(tree).items() if name in listed and name not in found}
    for origin in dict.fromkeys(origins.values()):
        _, theirs, files = read_module(origin, roots)
        entries += [entry for entry in theirs if origins.get(entry.name) == origin]
        read += files
    missing = sorted(set(listed) - {entry.name for entry in entries})
    if missing:
        raise LookupError(f"{module} lists {', '.join(missing)} in __all__, and no source of it was found")
    return doc, [entry for entry in entries if entry.name in listed], read


# ------------------------------------------------------------------------------------------------ docstring to nodes


@dataclass(frozen=True)
class Where:
    """What a docstring belongs to: module, class around it, and the names of the arguments or fields it explains."""

    module: str
    class_name: str | None = None
    names: set[str] = field(default_factory=set)


def inline(text: str, where: Where) -> list[nodes.Node]:
    """Text with ``literals`` and ``:func:`` roles as nodes; roles become references of the Python domain."""
    result: list[nodes.Node] = []
    position = 0
    for match in INLINE.finditer(text):
        if match.start() > position:
            result.append(nodes.Text(text[position : match.start()]))
        position = match.end()
        role, target = match["role"], match["target"]
        if role in ("func", "class", "meth", "attr", "mod", "data", "obj", "exc"):
            shown = target.split(".")[-1] if target.startswith("~") else target
            reference = addnodes.pending_xref("", refdomain="py", reftype=role, reftarget=target.lstrip("~"))
            reference["py:module"], reference["py:class"] = where.module, where.class_name
            reference["refspecific"] = reference["refwarn"] = True
            reference += nodes.literal("", shown + ("()" if role in ("func", "meth") else ""))
            result.append(reference)
        else:
            result.append(nodes.literal("", target or match["double"] or match["single"]))
    if position < len(text):
        result.append(nodes.Text(text[position:]))
    return result


def _paragraph(lines: list[str], where: Where) -> nodes.paragraph:
    return nodes.paragraph("", "", *inline(" ".join(line.strip() for line in lines), where))


def _items(lines: list[str], begins: Callable[[str], object]) -> list[list[str]]:
    """Group lines into items; an item starts at a line that `begins`, the lines after it continue it."""
    items: list[list[str]] = []
    for line in lines:
        if begins(line) or not items:
            items.append([line])
        else:
            items[-1].append(line)
    return items


def _defines(line: str, names: set[str] | None) -> re.Match[str] | None:
    """``name: what it is``, where `name` is one of `names`, or any where that is None."""
    match = DEFINITION.match(line)
    return match if match and (names is None or set(match[1].split(", ")) <= names) else None


def _definitions(lines: list[str], where: Where, names: set[str] | None = None) -> nodes.definition_list:
    """``name: what it is`` lines as a definition list."""
    result = nodes.definition_list()
    for item in _items(lines, lambda line: _defines(line, names)):
        name, _, first = item[0].partition(": ")
        body = nodes.definition("", _paragraph([first, *item[1:]], where))
        result += nodes.definition_list_item("", nodes.term("", "", nodes.literal("", name)), body)
    return result


def _bullets(lines: list[str], where: Where) -> nodes.bullet_list:
    result = nodes.bullet_list(bullet="-")
    for item in _items(lines, BULLET.match):
        result += nodes.list_item("", _paragraph([item[0][2:], *item[1:]], where))
    return result


def _dedent(lines: list[str]) -> list[str]:
    margin = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return [line[margin:] for line in lines]


def _block(lines: list[str], where: Where) -> Iterator[nodes.Node]:
    """The nodes of one block of a docstring (lines without an empty one between them)."""
    if lines[0].strip() in SECTIONS:
        yield nodes.rubric("", lines[0].strip().rstrip(":"))
        rest = _dedent(lines[1:])
        if rest and DEFINITION.match(rest[0]):
            yield _definitions(rest, where)
        elif rest:
            yield from _block(rest, where)
    elif all(line.startswith(" ") for line in lines):
        yield nodes.literal_block("", "\n".join(_dedent(lines)), language="text")
    elif BULLET.match(lines[0]):
        yield _bullets(lines, where)
    elif _defines(lines[0], where.names):
        # Short explanations often share a line: "matrix: grid points along y and x. frames: in one heartbeat."
        begins = re.compile(rf"(?<=[.;]) (?=(?:{'|'.join(map(re.escape, where.names))}): )")
        yield _definitions([part for line in lines for part in begins.split(line)], where, where.names)
    else:
        yield _paragraph(lines, where)


def docstring_nodes(doc: str, where: Where) -> list[nodes.Node]:
    """A docstring as nodes: paragraphs, definitions of arguments, bullets, Google sections, indented literal blocks."""
    blocks = [block.splitlines() for block in re.split(r"\n\s*\n", doc.strip()) if block.strip()]
    return [node for block in blocks for node in _block(block, where)]


# -------------------------------------------------------------------------------------------------- the directive


class CourseModule(SphinxDirective):
    """``{course-module} name``: docstring and public names of a module, as targets of the Python domain."""

    required_arguments = 1
    option_spec: ClassVar[dict[str, Any]] = {"no-docstring": directives.flag, "only": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        """Read the module's source and return its listing."""
        module = self.arguments[0]
        roots = (Path(self.env.srcdir), Path.cwd())
        try:
            doc, entries, files = read_module(module, roots)
        except ModuleNotFoundError as error:
            raise self.error(f"course-module: no module {error}") from None
        except LookupError as error:
            raise self.error(f"course-module: {error}") from None
        for path in files:
            self.env.note_dependency(str(path))
        self.reexported = reexported(module.rpartition(".")[0], roots)
        entries = self._chosen(module, entries)
        self._python_domain().note_module(module, self._identify(module), doc.split("\n")[0], "", False)
        target = nodes.target("", "", ids=[self._identify(module)])
        result: list[nodes.Node] = [target]
        if "no-docstring" not in self.options:
            result += docstring_nodes(doc, Where(module))
        return result + [self._describe(entry, module, None) for entry in entries]

    def _chosen(self, module: str, entries: list[Entry]) -> list[Entry]:
        """The entries of the option ``only``, or all; a name that is not there is an error."""
        if "only" not in self.options:
            return entries
        wanted = self.options["only"].replace(",", " ").split()
        missing = sorted(set(wanted) - {entry.name for entry in entries})
        if missing:
            raise self.error(f"course-module: {module} has no public {', '.join(missing)}")
        return [entry for entry in entries if entry.name in wanted]

    def _python_domain(self) -> PythonDomain:
        return cast(PythonDomain, self.env.get_domain("py"))

    def _identify(self, name: str) -> str:
        return make_id(self.env, self.state.document, "", name)

    def _describe(self, entry: Entry, module: str, class_name: str | None) -> addnodes.desc:
        """One entry, with the members of a class below it."""
        local = f"{class_name}.{entry.name}" if class_name else entry.name
        full_name = f"{module}.{local}"
        signature = addnodes.desc_signature("", "", classes=["sig"], ids=[full_name])
        signature["module"], signature["fullname"], signature["class"] = module, local, class_name or ""
        signature["_toc_parts"] = ()
        if entry.kind in ("class", "property"):
            signature += addnodes.desc_annotation("", f"{entry.kind} ")
        signature += addnodes.desc_name("", entry.name)
        if entry.signature:
            signature += nodes.inline("", entry.signature, classes=["course-signature"])
        self.state.document.note_explicit_target(signature)
        self._python_domain().note_object(full_name, entry.kind, full_name, location=signature)
        package = module.rpartition(".")[0]
        if module == self.reexported.get(local.partition(".")[0]):
            alias = f"{package}.{local}"
            self._python_domain().note_object(alias, entry.kind, full_name, aliased=True, location=signature)
        inside = entry.name if entry.kind == "class" else class_name
        names = set(re.findall(r"(\w+)(?=[:,)=])", entry.signature))
        where = Where(module, inside, names)
        content = addnodes.desc_content("", *docstring_nodes(entry.doc, where))
        content += [self._describe(member, module, entry.name) for member in entry.members]
        return addnodes.desc(
            "", signature, content, domain="py", objtype=entry.kind, desctype=entry.kind, classes=["py"]
        )


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("course-module", CourseModule)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
