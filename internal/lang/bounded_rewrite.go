package lang

import "go.starlark.net/syntax"

// This file puts bounded functions in the place of what a single step could use to
// make a text of any size, or to work for any time: x % y, comparisons, keys of
// dicts, and a few methods.

// The names of the functions; no script can write them.
const (
	percentName = "%"
	methodName  = "." // followed by the method
)

// boundedMethods are methods whose result may be much larger than what goes in, or
// that compare or look up what they are given.
var boundedMethods = map[string]bool{
	"replace": true, "join": true, "format": true,
	"update": true, "index": true, "remove": true, "get": true, "pop": true, "setdefault": true,
	"split": true, "rsplit": true, "splitlines": true, "extend": true,
	"elems": true, "elem_ords": true, "codepoints": true, "codepoint_ords": true,
	"items": true, "keys": true, "values": true,
	"upper": true, "lower": true, "title": true, "capitalize": true,
}

// keyMethods are those that most code calls with a key: it is checked there, at
// less cost than a method that is replaced.
var keyMethods = map[string]bool{"get": true, "pop": true, "setdefault": true}

// boundTexts rewrites a file in place. Positions of errors stay as they are.
func boundTexts(file *syntax.File) { rewriteBlock(file.Stmts) }

func rewriteBlock(stmts []syntax.Stmt) {
	for _, stmt := range stmts {
		switch s := stmt.(type) {
		case *syntax.AssignStmt:
			rewriteAssign(s)
		case *syntax.DefStmt:
			rewriteDefaults(s.Params)
			rewriteBlock(s.Body)
		case *syntax.ExprStmt:
			s.X = rewrite(s.X)
		case *syntax.ForStmt:
			s.Vars, s.X = rewrite(s.Vars), rewrite(s.X)
			rewriteBlock(s.Body)
		case *syntax.IfStmt:
			s.Cond = rewrite(s.Cond)
			rewriteBlock(s.True)
			rewriteBlock(s.False)
		case *syntax.ReturnStmt:
			s.Result = rewrite(s.Result)
		}
	}
}

// rewriteAssign makes x = x % y of x %= y, where x is a name: other targets must
// not be evaluated twice.
func rewriteAssign(s *syntax.AssignStmt) {
	target := s.LHS
	if s.LHS, s.RHS = rewrite(s.LHS), rewrite(s.RHS); isSlice(target) {
		s.LHS = target // which is refused as what it is
	}
	switch name, simple := s.LHS.(*syntax.Ident); {
	case s.Op == syntax.PLUS_EQ || s.Op == syntax.PIPE_EQ:
		rewriteInPlace(s)
	case simple && s.Op == syntax.PERCENT_EQ:
		s.RHS = callOf(percentName, s.OpPos, &syntax.Ident{NamePos: name.NamePos, Name: name.Name}, s.RHS)
		s.Op = syntax.EQ
	}
}

func isSlice(e syntax.Expr) bool {
	_, is := e.(*syntax.SliceExpr)
	return is
}

// rewriteDefaults rewrites the defaults of parameters.
func rewriteDefaults(params []syntax.Expr) {
	for _, p := range params {
		if named, ok := p.(*syntax.BinaryExpr); ok {
			named.Y = rewrite(named.Y)
		}
	}
}

func rewriteAll(exprs []syntax.Expr) {
	for i, e := range exprs {
		exprs[i] = rewrite(e)
	}
}

// rewrite gives what an expression becomes; nil of nil.
func rewrite(expr syntax.Expr) syntax.Expr {
	switch e := expr.(type) {
	case *syntax.BinaryExpr:
		e.X, e.Y = rewrite(e.X), rewrite(e.Y)
		if e.Op == syntax.PERCENT {
			return callOf(percentName, e.OpPos, e.X, e.Y)
		}
		if unions[e.Op] {
			return rewriteSum(e)
		}
		if comparisons[e.Op] && !isLiteral(e.X) && !isLiteral(e.Y) {
			return callOf(e.Op.String(), e.OpPos, e.X, e.Y)
		}
	case *syntax.CallExpr:
		rewriteCall(e)
	case *syntax.Comprehension:
		e.Body = rewrite(e.Body)
		for _, clause := range e.Clauses {
			switch c := clause.(type) {
			case *syntax.ForClause:
				c.Vars, c.X = rewrite(c.Vars), rewrite(c.X)
			case *syntax.IfClause:
				c.Cond = rewrite(c.Cond)
			}
		}
	case *syntax.CondExpr:
		e.Cond, e.True, e.False = rewrite(e.Cond), rewrite(e.True), rewrite(e.False)
	case *syntax.DictEntry:
		e.Key, e.Value = keyOf(rewrite(e.Key)), rewrite(e.Value)
	case *syntax.DictExpr:
		rewriteAll(e.List)
	case *syntax.DotExpr:
		e.X = rewrite(e.X)
		if boundedMethods[e.Name.Name] {
			return callOf(methodName+e.Name.Name, e.Dot, e.X)
		}
	case *syntax.IndexExpr:
		e.X, e.Y = rewrite(e.X), keyOf(rewrite(e.Y))
	case *syntax.LambdaExpr:
		rewriteDefaults(e.Params)
		e.Body = rewrite(e.Body)
	case *syntax.ListExpr:
		rewriteAll(e.List)
	case *syntax.ParenExpr:
		e.X = rewrite(e.X)
	case *syntax.SliceExpr:
		e.X, e.Lo, e.Hi, e.Step = rewrite(e.X), rewrite(e.Lo), rewrite(e.Hi), rewrite(e.Step)
		return callOf(partName, e.Lbrack, e)
	case *syntax.TupleExpr:
		rewriteAll(e.List)
	case *syntax.UnaryExpr:
		e.X = rewrite(e.X)
	}
	return expr
}

func callOf(function string, at syntax.Position, args ...syntax.Expr) *syntax.CallExpr {
	return &syntax.CallExpr{Fn: &syntax.Ident{NamePos: at, Name: function}, Lparen: at, Args: args, Rparen: at}
}

// rewriteCall rewrites a call in place.
func rewriteCall(e *syntax.CallExpr) {
	rewriteAll(e.Args)
	for _, arg := range e.Args {
		if spread, ok := arg.(*syntax.UnaryExpr); ok && (spread.Op == syntax.STAR || spread.Op == syntax.STARSTAR) {
			spread.X = callOf(partName, spread.OpPos, spread.X)
		}
	}
	method, isMethod := e.Fn.(*syntax.DotExpr)
	if !isMethod || !keyMethods[method.Name.Name] || len(e.Args) == 0 || !isPositional(e.Args[0]) {
		e.Fn = rewrite(e.Fn)
		return
	}
	method.X = rewrite(method.X)
	e.Args[0] = keyOf(e.Args[0])
}

// isPositional reports an argument that is neither *args, **kwargs nor named.
func isPositional(arg syntax.Expr) bool {
	switch a := arg.(type) {
	case *syntax.UnaryExpr:
		return a.Op != syntax.STAR && a.Op != syntax.STARSTAR
	case *syntax.BinaryExpr:
		return a.Op != syntax.EQ
	}
	return true
}

// keyOf puts the check of a key around an expression that may be a tuple.
func keyOf(key syntax.Expr) syntax.Expr {
	if isLiteral(key) {
		return key
	}
	start, _ := key.Span()
	return callOf(keyName, start, key)
}

// isLiteral reports an expression whose value is plain, or a list or tuple of
// plain values.
func isLiteral(expr syntax.Expr) bool {
	all := func(list []syntax.Expr) bool {
		for _, e := range list {
			if !isLiteral(e) {
				return false
			}
		}
		return true
	}
	switch e := expr.(type) {
	case *syntax.Literal:
		return true
	case *syntax.Ident:
		return e.Name == "None" || e.Name == "True" || e.Name == "False"
	case *syntax.UnaryExpr:
		return e.X != nil && isLiteral(e.X)
	case *syntax.ParenExpr:
		return isLiteral(e.X)
	case *syntax.ListExpr:
		return all(e.List)
	case *syntax.TupleExpr:
		return all(e.List)
	}
	return false
}
